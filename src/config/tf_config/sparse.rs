//! Constructs the addresses that `TF_CONFIG` omits. The pattern of the omitted addresses comes from
//! the address of this task.

use crate::hosts::{Host, HostPort};
use unisono_core::ids::Job;

/// A pattern of addresses, with placeholders for the role and the index of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    form: Form,
    /// The text before the first placeholder: before the role, including the dash, or before the
    /// index if the pattern has no role.
    before: String,
    /// The text after the index.
    after: String,
    port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// An address consists of `NAME-ROLE-INDEX` and a suffix. Kubeflow's Training Operator gives
    /// the service of each task such a name.
    RoleAndIndex,
    /// An address consists of a name, the index of the task and a suffix, such as
    /// `worker-3.example`. This form determines only the addresses of the given job's tasks.
    Index(Job),
}

impl Template {
    /// Derives the pattern from `own`, the address of the task with this job and index. Returns
    /// `None` if no form matches the address.
    pub(super) fn of(own: &HostPort, job: Job, index: u32) -> Option<Self> {
        let Host::Name(name) = own.host() else { return None };
        let label_end = name.find('.').unwrap_or(name.len());
        let (label, after) = name.split_at(label_end);
        let (form, before) = match label.strip_suffix(&format!("-{job}-{index}")) {
            Some(before) => (Form::RoleAndIndex, format!("{before}-")),
            None => (Form::Index(job), before_number(label, index)?.to_owned()),
        };
        Some(Self { form, before, after: after.to_owned(), port: own.port() })
    }

    /// Returns the address of the task with this job and index, or `None` if the pattern does not
    /// determine the address.
    pub(super) fn address(&self, job: Job, index: u32) -> Option<HostPort> {
        let Self { form, before, after, port } = self;
        let name = match form {
            Form::RoleAndIndex => format!("{before}{job}-{index}{after}"),
            Form::Index(of) if *of == job => format!("{before}{index}{after}"),
            Form::Index(_) => return None,
        };
        Some(HostPort::new(Host::Name(name), *port))
    }
}

/// Returns the part of a label before the index, or `None` if the label does not end in the index.
/// The index must be the whole number at the end of the label: `node11` ends in 11, not in 1.
fn before_number(label: &str, index: u32) -> Option<&str> {
    let before = label.strip_suffix(&index.to_string())?;
    let is_whole = before.ends_with(|last: char| !last.is_ascii_digit());
    is_whole.then_some(before)
}
