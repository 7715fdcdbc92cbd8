//! Derives the addresses of tasks that `TF_CONFIG` leaves out from the address of this task.

use crate::hosts::{Host, HostPort};
use unisono_core::ids::Job;

/// The form of addresses, with placeholders for the role and the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    form: Form,
    /// The text before the role, including a dash, or before the number.
    before: String,
    /// The text after the number.
    after: String,
    port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `NAME-ROLE-INDEX` and a suffix. The Training Operator of Kubeflow names the service of each
    /// task like this.
    RoleAndIndex,
    /// An address that is made of a name, the index of the task and a suffix, such as
    /// `worker-3.example`. Only tasks of this job have addresses of this form.
    Index(Job),
}

impl Template {
    /// Derives the form from the address of one task. Returns `None` if the address has neither
    /// form.
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

    /// Returns the address of another task; `None` if the form does not determine it.
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

/// Returns a label without the index at its end. Returns `None` if the number at the end of the
/// label differs from the index: the number of `node11` is 11, not 1.
fn before_number(label: &str, index: u32) -> Option<&str> {
    let before = label.strip_suffix(&index.to_string())?;
    let is_whole = before.ends_with(|last: char| !last.is_ascii_digit());
    is_whole.then_some(before)
}
