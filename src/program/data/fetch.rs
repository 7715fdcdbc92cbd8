//! `unisono data fetch`: fetches a published data set into a folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressDrawTarget, ProgressStyle};

use crate::fetch::error::{Fetched, Timing};
use crate::fetch::{Fetcher, Watcher};
use unisono_config::values::{Named, name_of};
use unisono_learn::data::{Published, PublishedFile};
use unisono_task::process::Process;
use unisono_terminal::output::{Screen, make_folder};

/// The arguments of `unisono data fetch`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct FetchArgs {
    /// The data set
    #[arg(value_name = "DATA_SET", default_value = "mnist")]
    data_set: Named<Published>,
    /// Folder for its four files [default: ./mnist/ or ./fashion-mnist/]
    #[arg(long, value_name = "DIR", help_heading = "Files")]
    data_dir: Option<PathBuf>,
    /// URL of a folder with the files, instead of the public mirrors; if repeated, each URL is
    /// tried in turn
    #[arg(long, value_name = "URL", value_parser = mirror, help_heading = "Network")]
    mirror: Vec<String>,
}

/// Checks the URL of a folder of files.
fn mirror(text: &str) -> Result<String, &'static str> {
    let has_host = |scheme: &str| {
        let rest = text.get(scheme.len()..).unwrap_or_default();
        let is_scheme = text.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme));
        is_scheme && rest.split('/').next().is_some_and(|host| !host.is_empty())
    };
    let is_plain = !text.contains(['?', '#', ' ']);
    if is_plain && (has_host("https://") || has_host("http://")) {
        Ok(text.to_owned())
    } else {
        Err("give the URL of a folder, such as http://files.example.org/mnist/")
    }
}

/// Fetches the files that are missing.
///
/// # Errors
/// Returns an error if a file cannot be fetched or written.
pub fn run_fetch(args: &FetchArgs, process: &Process) -> anyhow::Result<ExitCode> {
    let Named(set) = args.data_set;
    let folder = args.data_dir.clone().unwrap_or_else(|| PathBuf::from(name_of(&args.data_set)));
    make_folder(&folder)?;
    let mirrors = if args.mirror.is_empty() {
        set.mirrors().iter().map(|mirror| (*mirror).to_owned()).collect()
    } else {
        args.mirror.clone()
    };
    let fetcher = Fetcher { folder: &folder, mirrors, timing: Timing::default() };
    for file in set.files() {
        let mut bar = Bar::new(&process.screen, file);
        let fetched = fetcher.fetch(file, &mut bar);
        bar.finish();
        process.screen.out(&match fetched? {
            Fetched::Present(path) => format!("{} already exists.", path.display()),
            Fetched::From(mirror) => {
                let name = folder.join(file.name);
                format!("{}.gz came from {mirror}", name.display())
            }
        });
    }
    process.screen.out(&all_there(set, &folder));
    Ok(ExitCode::SUCCESS)
}

fn all_there(set: Published, folder: &Path) -> String {
    let (title, licence, folder) = (set.title(), set.licence(), folder.display());
    format!("{title} ({licence}) is in {folder}: `unisono local --data-dir {folder}` trains on it.")
}

/// Shows the progress of a file on standard error, if standard error is a terminal.
#[derive(Debug)]
struct Bar<'a>(&'a Screen);

impl<'a> Bar<'a> {
    fn new(screen: &'a Screen, file: &PublishedFile) -> Self {
        let style = "{prefix} {bar:24} {bytes}/{total_bytes} {wide_msg}{bytes_per_sec}, {eta} left";
        let bar = screen.bar();
        bar.reset();
        bar.set_style(ProgressStyle::with_template(style).expect("the style is right"));
        bar.set_prefix(file.name);
        bar.set_length(file.gzip.len);
        bar.set_draw_target(ProgressDrawTarget::stderr());
        Self(screen)
    }

    fn finish(&self) {
        self.0.bar().finish_and_clear();
    }
}

impl Watcher for Bar<'_> {
    fn bytes(&mut self, have: u64) {
        self.0.bar().set_position(have);
    }

    fn note(&mut self, what: &str) {
        self.0.err(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirror_must_be_the_url_of_a_folder() {
        for good in ["http://a", "https://a/b/", "HTTP://a:80/b", "http://[::1]:80/"] {
            assert!(mirror(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "ftp://a/", "http://", "https:///b", "http://a/?b", "http://a b"] {
            assert!(mirror(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn last_message_of_fetch_contains_the_next_command() {
        let told = all_there(Published::FashionMnist, Path::new("/data/fashion"));
        assert!(told.contains("`unisono local --data-dir /data/fashion`"), "{told}");
    }
}
