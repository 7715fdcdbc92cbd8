//! Combines the model, the data, the update rule and the files of a run.
//!
//! The tasks of a cluster and the serial reference use the same [`Gradients`] and [`Updates`].

pub mod files;
mod gradients;
pub mod plan;
pub mod reference;
mod same_run;
mod shapes;
mod updates;

pub use gradients::Gradients;
pub use plan::Plan;
pub use same_run::UNRECORDED;
pub use shapes::Shapes;
pub use updates::Updates;
