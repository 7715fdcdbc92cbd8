//! The targets of `unisono top`: addresses of metrics, ranges of ports, or the folder of a run.

use std::path::PathBuf;

use unisono_config::HostPort;

/// A target on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The addresses at which tasks serve their metrics.
    Tasks(Vec<HostPort>),
    /// A logdir.
    Logdir(PathBuf),
}

impl Target {
    /// Parses a target: `HOST:PORT`, `HOST:FIRST-LAST`, or a folder.
    ///
    /// # Errors
    /// Returns an error if the text has none of these forms.
    pub fn parse(word: &str) -> Result<Self, String> {
        let path = PathBuf::from(word);
        if path.is_dir() {
            return Ok(Self::Logdir(path));
        }
        if word.contains('/') || !word.contains(':') {
            return Err(format!(
                "there is no folder {word}; name a logdir, or the addresses of the tasks' metrics, like \
                 127.0.0.1:9100 or 127.0.0.1:9100-9103"
            ));
        }
        row_of_ports(word).map(Self::Tasks)
    }
}

fn row_of_ports(word: &str) -> Result<Vec<HostPort>, String> {
    let (host, ports) = word.rsplit_once(':').expect("it has a colon");
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let one = |port: &str| {
        format!("{host}:{port}").parse::<HostPort>().map_err(|error| error.to_string())
    };
    let (first, last) = (one(first)?, one(last)?);
    if last.port() < first.port() {
        return Err(format!("{word}: the last port is below the first"));
    }
    Ok((first.port()..=last.port()).map(|port| HostPort::new(first.host().clone(), port)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(word: &str) -> Result<Vec<String>, String> {
        match Target::parse(word)? {
            Target::Tasks(tasks) => Ok(tasks.iter().map(ToString::to_string).collect()),
            Target::Logdir(path) => panic!("{}", path.display()),
        }
    }

    #[test]
    fn range_of_ports_is_one_task_per_port() {
        assert_eq!(ports("a:9100-9102").unwrap(), ["a:9100", "a:9101", "a:9102"]);
        assert_eq!(ports("[::1]:7").unwrap(), ["[::1]:7"]);
        assert!(ports("a:9-8").unwrap_err().contains("below the first"));
        assert!(ports("a:0").is_err() && ports("a:1-70000").is_err());
    }

    #[test]
    fn argument_that_is_no_address_is_a_folder_or_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let word = folder.path().to_str().unwrap();
        assert_eq!(Target::parse(word), Ok(Target::Logdir(folder.path().to_owned())));
        assert!(ports("no/such").unwrap_err().starts_with("there is no folder no/such"));
    }
}
