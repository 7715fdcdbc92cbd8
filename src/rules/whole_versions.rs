//! Rule 6: a worker computes at a version that it holds of every shard, all of one generation; and
//! a version that is sent is one that was made.

use unisono_core::protocol::{Effect, Input, Job, Message};
use unisono_core::{Cut, Floats};

use super::Violation;
use crate::invariant::{At, Invariant};

/// Looks at every gradient that is begun, and at every version that is sent.
#[derive(Debug, Default)]
pub(super) struct WholeVersions;

impl Invariant for WholeVersions {
    fn after(&mut self, at: &At<'_>, _input: &Input, effects: &[Effect]) -> Result<(), Violation> {
        for effect in effects {
            match effect {
                Effect::Compute(Job::Gradient { cut, parameters, .. }) => {
                    let cut = *cut;
                    check_work(at, cut, parameters)?;
                }
                Effect::Send { message: Message::Version { cut, parameters, .. }, .. } => {
                    let cut = *cut;
                    check_version(at, cut, parameters)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn check_work(at: &At<'_>, cut: Cut, parameters: &[Floats]) -> Result<(), Violation> {
    let broken = |name, what| Violation::new(6, name, what).at(cut.step).of(at.life.task);
    if let Some(whole) = at.seen().map(|life| life.work.whole())
        && whole != Some(cut)
    {
        let what = format!("it computes at {cut}, and the last whole version it got is {whole:?}");
        return Err(broken("not-a-whole-version", what));
    }
    if parameters.len() != at.config.n_ps as usize {
        let what = format!("it computes with {} shards of {}", parameters.len(), at.config.n_ps);
        return Err(broken("not-a-whole-version", what));
    }
    for (ps, shard) in (0..).zip(parameters) {
        match at.history.state(cut, ps) {
            Some(made) if made.parameters.is(shard) => {}
            Some(made) => {
                let what = format!("its shard of ps {ps} is not {cut}");
                return Err(broken("half-a-version", what).with_first(&made.parameters, shard));
            }
            None => {
                let what = format!("it computes at {cut}, to which ps {ps} never came");
                return Err(broken("half-a-version", what));
            }
        }
    }
    Ok(())
}

fn check_version(at: &At<'_>, cut: Cut, parameters: &Floats) -> Result<(), Violation> {
    let broken = |name, what| Violation::new(6, name, what).at(cut.step).of(at.life.task);
    if let Some(shard) = at.seen().map(|life| &life.shard)
        && shard.cut != Some(cut)
        && shard.previous != Some(cut)
    {
        let what = format!("it sends {cut}, and stands at {:?}", shard.cut);
        return Err(broken("not-its-version", what));
    }
    match at.history.state(cut, at.life.task.index) {
        Some(made) if made.parameters.is(parameters) => Ok(()),
        Some(made) => {
            let what = format!("what it sends is not {cut}");
            Err(broken("half-a-version", what).with_first(&made.parameters, parameters))
        }
        None => Err(broken("half-a-version", format!("it sends {cut}, which it never made"))),
    }
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
        run.does(&mut WholeVersions, life, vec![effect]).err().map(|violation| violation.name)
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
