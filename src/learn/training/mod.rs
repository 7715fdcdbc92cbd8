//! A run put together: its model, its data, its update rule, its files.
//!
//! Here the parts that know nothing of each other meet. The cluster's tasks and the serial
//! reference are made of the same pieces.

pub mod files;
pub mod gradients;
pub mod plan;
pub mod reference;
mod same_run;
mod shapes;
mod updates;

pub use gradients::Gradients;
pub use plan::Plan;
pub use same_run::Misfit;
pub use shapes::Shapes;
pub use updates::Updates;
