//! Checks the layout of the source tree: no circular imports between files or folders.
//!
//! The checks read the files as text, and build nothing of the project.

#[cfg(test)]
mod circles;
#[cfg(test)]
mod resolve;
#[cfg(test)]
mod source;
#[cfg(test)]
mod tests;
