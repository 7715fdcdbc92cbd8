//! The output of a run, for people and for programs.

mod files;
mod json_line;
mod line;
pub mod logging;
mod progress;
mod screen;
mod table;

pub use files::{cannot_write, create_file, make_folder, make_folder_of, write_file};
pub use line::TrainingLine;
pub use progress::{ProgressLine, ProgressView};
pub use screen::Screen;
pub use table::table;
pub use unisono_core::percent_g::PercentG;
