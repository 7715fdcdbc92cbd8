//! Shell completions and manual pages of a command line, generated from the same texts as `--help`.
//! The program `unisono-sim` also uses this module.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use super::output::{Screen, make_folder, write_file};

/// The command that starts the simulator. The simulator is a separate program with its own manual
/// pages.
pub const SIM: &str = "sim";

/// The date of this version, for the footer of the manual pages.
const DATE: &str = "2026-11-28";
const MANUAL: &str = "Unisono Manual";

/// Arguments of the command that prints completions.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Arguments of the command that writes manual pages.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ManArgs {
    /// Folder for the pages of all commands [default: print the page of the program itself]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// A manual page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The name of the file, such as `unisono-local.1`.
    pub file: String,
    /// The content of the file, in roff.
    pub roff: String,
}

/// Prints the shell script that completes the program's commands and flags.
pub fn run_completions(
    args: CompletionsArgs,
    name: &str,
    command: &Command,
    screen: &Screen,
) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut without_hidden(name, command), name, &mut script);
    screen.out(String::from_utf8(script).expect("a script is text").trim_end());
    ExitCode::SUCCESS
}

/// Writes all manual pages to a folder. Without a folder, prints the page of the program itself.
///
/// # Errors
/// Returns an error if a file cannot be written.
pub fn run_man(args: &ManArgs, command: Command, screen: &Screen) -> anyhow::Result<ExitCode> {
    let pages = pages(command)?;
    let Some(folder) = &args.folder else {
        screen.out(pages[0].roff.trim_end());
        return Ok(ExitCode::SUCCESS);
    };
    make_folder(folder)?;
    pages.iter().try_for_each(|page| write_file(&folder.join(&page.file), &page.roff))?;
    screen.out(&format!("{} pages are in {}.", pages.len(), folder.display()));
    Ok(ExitCode::SUCCESS)
}

/// Returns a copy of the command without its hidden subcommands.
fn without_hidden(name: &str, command: &Command) -> Command {
    // The generators would also complete hidden commands. clap cannot remove a subcommand, so a new
    // command is built from all commands that are not hidden.
    Command::new(name.to_owned())
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .args(command.get_arguments().cloned())
        .subcommands(command.get_subcommands().filter(|command| !command.is_hide_set()).cloned())
}

/// Returns the manual pages of a program and of all its commands. The page of the program itself
/// comes first.
///
/// # Errors
/// Returns an error if a page cannot be rendered.
pub fn pages(mut command: Command) -> io::Result<Vec<Page>> {
    command.build();
    let mut pages = Vec::new();
    add_pages(&command, &mut pages)?;
    Ok(pages)
}

fn add_pages(command: &Command, pages: &mut Vec<Page>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    pages.push(Page { file: format!("{name}.1"), roff: page(command, &name)? });
    // `unisono sim` starts a separate program, which has its own pages.
    let is_shown = |command: &&Command| !command.is_hide_set() && command.get_name() != SIM;
    command.get_subcommands().filter(is_shown).try_for_each(|command| add_pages(command, pages))
}

fn page(command: &Command, name: &str) -> io::Result<String> {
    let version = concat!("unisono ", env!("CARGO_PKG_VERSION"));
    let title = name.to_uppercase();
    let man = Man::new(command.clone()).title(title).date(DATE).source(version).manual(MANUAL);
    let mut roff = Vec::new();
    man.render_title(&mut roff)?;
    man.render_name_section(&mut roff)?;
    man.render_synopsis_section(&mut roff)?;
    man.render_description_section(&mut roff)?;
    man.render_options_section(&mut roff)?;
    if command.get_subcommands().any(|command| !command.is_hide_set()) {
        man.render_subcommands_section(&mut roff)?;
    }
    let mut text = String::from_utf8(roff).expect("a page is text");
    if let Some(notes) = command.get_after_help() {
        text.push_str(&notes_to_roff(&notes.to_string()));
    }
    Ok(text)
}

/// Converts the text after the flags to roff. If a paragraph has indented lines, the line breaks of
/// the paragraph are kept.
fn notes_to_roff(notes: &str) -> String {
    let mut roff = String::new();
    let mut section = "";
    for paragraph in notes.split("\n\n") {
        let (heading, body) = match paragraph.split_once('\n') {
            Some((first, rest)) if first.starts_with("Example") => ("EXAMPLES", rest),
            Some(("Exit codes:", rest)) => ("EXIT STATUS", rest),
            _ if paragraph.starts_with("Exit") => ("EXIT STATUS", paragraph),
            _ => ("NOTES", paragraph),
        };
        if heading != section {
            roff.push_str(&format!(".SH \"{heading}\"\n"));
            section = heading;
        } else {
            roff.push_str(".PP\n");
        }
        let is_kept = body.lines().any(|line| line.starts_with("  "));
        if is_kept {
            roff.push_str(".nf\n");
        }
        for line in body.lines() {
            roff.push_str(&escaped(line));
            roff.push('\n');
        }
        if is_kept {
            roff.push_str(".fi\n");
        }
    }
    roff
}

/// Escapes a line, so that roff prints it unchanged.
fn escaped(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    // In roff, a line that starts with a period or an apostrophe is a request.
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_keep_their_line_breaks_and_other_notes_are_filled() {
        let notes = "Examples:\n  a --b \\\n    c\n\nA sentence,\nand more.\n\nExits with 1.";
        assert_eq!(
            notes_to_roff(notes),
            ".SH \"EXAMPLES\"\n.nf\n  a \\-\\-b \\e\n    c\n.fi\n.SH \"NOTES\"\nA sentence,\nand \
             more.\n.SH \"EXIT STATUS\"\nExits with 1.\n"
        );
        assert_eq!(escaped(".so it is"), "\\&.so it is");
    }
}
