//! Rule 6: a worker computes only from a version of which the worker holds every shard, all of one
//! generation. A version that a ps sends was computed before.

use unisono_core::protocol::{Effect, Job, Message};
use unisono_core::{Cut, Floats};

use crate::made::Key;
use crate::rule::At;
use crate::violation::Violation;

/// Checks every computation of a gradient that a worker begins, and every version that a ps sends.
pub(crate) fn whole_versions(at: &mut At<'_>) -> Result<(), Violation> {
    at.turn.effects.iter().try_for_each(|effect| match effect {
        Effect::Compute(Job::Gradient { cut, parameters, .. }) => check_work(at, *cut, parameters),
        Effect::Send { message: Message::Version { cut, parameters, .. }, .. } => {
            check_version(at, *cut, parameters)
        }
        _ => Ok(()),
    })
}

fn check_work(at: &At<'_>, cut: Cut, parameters: &[Floats]) -> Result<(), Violation> {
    let broken = |what| Err(at.violation(6, "not-a-whole-version", cut.step, what));
    let n_ps = at.turn.config.n_ps as usize;
    match at.seen().map(|life| life.work.whole) {
        Some(whole) if whole != Some(cut) => {
            broken(format!("a job starts from {cut}, but the newest whole version is {whole:?}"))
        }
        _ if parameters.len() != n_ps => {
            broken(format!("a job has {} shards, but the run has {n_ps}", parameters.len()))
        }
        _ => (0..).zip(parameters).try_for_each(|(ps, shard)| check_parameters(at, cut, ps, shard)),
    }
}

fn check_version(at: &At<'_>, cut: Cut, parameters: &Floats) -> Result<(), Violation> {
    if let Some(shard) = at.seen().map(|life| &life.shard)
        && ![shard.cut, shard.previous].contains(&Some(cut))
    {
        let what = format!("the ps sends {cut}, but its shard is at {:?}", shard.cut);
        return Err(at.violation(6, "not-its-version", cut.step, what));
    }
    check_parameters(at, cut, at.turn.life.task.index, parameters)
}

fn check_parameters(at: &At<'_>, cut: Cut, ps: u32, parameters: &Floats) -> Result<(), Violation> {
    at.history.check((cut, Key::State(ps), 0), parameters, |what| {
        at.violation(6, "half-a-version", cut.step, what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture::{Fixture, PS_LINK, cut, job, later, ps, send, version, worker};

    fn broken(run: &mut Fixture, effect: Effect) -> Option<&'static str> {
        let life = match effect {
            Effect::Compute(_) => worker(0),
            _ => ps(0),
        };
        run.does(&mut whole_versions, life, vec![effect]).err().map(|violation| violation.name)
    }

    fn ready() -> Fixture {
        let mut run = Fixture::new(2, 2);
        run.ready(0).unwrap();
        run.versions_came(worker(0), [cut(0), cut(0)]).unwrap();
        run
    }

    #[test]
    fn version_with_all_its_shards_passes() {
        assert_eq!(broken(&mut ready(), job(cut(0), &[1.0, 1.0])), None);
        assert_eq!(broken(&mut ready(), send(PS_LINK, version(cut(0), 1.0, &[]))), None);
    }

    #[test]
    fn computing_with_missing_wrong_or_foreign_shards_is_a_violation() {
        assert_eq!(broken(&mut ready(), job(cut(0), &[1.0])), Some("not-a-whole-version"));
        assert_eq!(broken(&mut ready(), job(cut(0), &[1.0, 2.0])), Some("half-a-version"));
        assert_eq!(broken(&mut ready(), job(later(0), &[1.0, 1.0])), Some("not-a-whole-version"));
        let mut run = ready();
        run.versions_came(worker(0), [later(0), later(0)]).unwrap();
        assert_eq!(broken(&mut run, job(later(0), &[1.0, 1.0])), Some("half-a-version"));
    }

    #[test]
    fn shards_of_two_generations_do_not_form_a_whole_version() {
        let mut run = Fixture::new(2, 2);
        run.ready(0).unwrap();
        for of in [0, 1] {
            run.restored(ps(of), later(0), 1.0).unwrap();
        }
        run.versions_came(worker(0), [cut(0), later(0)]).unwrap();
        assert_eq!(broken(&mut run, job(later(0), &[1.0, 1.0])), Some("not-a-whole-version"));
    }

    #[test]
    fn version_must_be_sent_unchanged() {
        let half = send(PS_LINK, version(cut(0), 1.5, &[]));
        assert_eq!(broken(&mut ready(), half), Some("half-a-version"));
        let next = send(PS_LINK, version(cut(1), 1.0, &[]));
        assert_eq!(broken(&mut ready(), next), Some("not-its-version"));
    }
}
