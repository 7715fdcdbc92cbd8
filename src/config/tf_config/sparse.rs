//! The names of tasks that `TF_CONFIG` leaves out, which follow from this task's own.

use crate::hosts::{Host, HostPort};
use unisono_core::ids::Job;

/// A task's address with places for the others' roles and numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    form: Form,
    /// The text before the role, with its dash, or before the number.
    before: String,
    /// The text after the number.
    after: String,
    port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `NAME-ROLE-INDEX` and all that follows, as the Training Operator names each task's service.
    RoleAndIndex,
    /// `NAMEINDEX` and all that follows, of the tasks of this job alone.
    Index(Job),
}

impl Template {
    /// Of the address of one task, if it has one of the forms.
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

    /// The address of another task, if it follows.
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

/// A label without its number at the end, if the number is this one: `node11` has not number 1.
fn before_number(label: &str, index: u32) -> Option<&str> {
    let before = label.strip_suffix(&index.to_string())?;
    let is_whole = before.ends_with(|last: char| !last.is_ascii_digit());
    is_whole.then_some(before)
}
