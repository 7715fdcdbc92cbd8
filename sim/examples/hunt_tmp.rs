use std::sync::Arc;
use std::time::{Duration, Instant};
use unisono_sim::scenario::*;
use unisono_sim::*;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let from: u64 = args[1].parse().unwrap();
    let n: u64 = args[2].parse().unwrap();
    let mut s = Scenario::default();
    let fam = args.get(3).cloned().unwrap_or_default();
    if fam != "none" {
        s.chaos = Some(Chaos {
            families: Family::NAMED
                .iter()
                .map(|f| f.0)
                .filter(|f| *f != Family::Gradient && (fam.is_empty() || fam.contains(f.name())))
                .collect(),
            swarm: true,
            faults: Range { min: 0, max: 10 },
            within: Duration::from_millis(40),
            longest: Duration::from_secs(20),
            ps: Some(Range { min: 1, max: 3 }),
            workers: Some(Range { min: 1, max: 4 }),
            replicas_to_aggregate: Some(Range { min: 1, max: 6 }),
            optimizer: true,
        });
    }
    s.liveness = Duration::from_secs(120);
    if std::env::var("FULL").is_ok() {
        s.run.train.hidden = vec![500];
        s.run.train.batch_size = 100;
        s.chaos.as_mut().map(|c| {
            c.ps = None;
            c.workers = None;
            c.replicas_to_aggregate = None;
            c.optimizer = false;
        });
    }
    if std::env::var("FIXED").is_ok() {
        s.chaos.as_mut().map(|c| {
            c.ps = None;
            c.workers = None;
            c.replicas_to_aggregate = None;
            c.optimizer = false;
        });
    }
    s.expect.oracle = Some(Oracle::Serial);
    let labs = Arc::new(Labs::default());
    let t = Instant::now();
    let next = Arc::new(std::sync::atomic::AtomicU64::new(from));
    let events = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let jobs: u64 = std::env::var("JOBS").map(|j| j.parse().unwrap()).unwrap_or(2);
    let hs: Vec<_> = (0..jobs)
        .map(|_| {
            let (s, labs, next, events) = (s.clone(), labs.clone(), next.clone(), events.clone());
            std::thread::spawn(move || {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= from + n {
                        return;
                    }
                    let d = Arc::new(chaos::draw(&s, seed));
                    let p = play(
                        &d,
                        seed,
                        &labs,
                        PlayOptions { trace: std::env::var("TRACE").is_ok(), ..Default::default() },
                    );
                    events.fetch_add(p.n_events, std::sync::atomic::Ordering::Relaxed);
                    if std::env::var("V").is_ok() {
                        println!("{seed}: took {:?} events {} {:?}", p.took, p.n_events, p.counts);
                    }
                    if let Some(f) = &p.failure {
                        println!("seed {seed}: {} :: {f}", f.signature());
                        if let Some(t) = &p.trace {
                            println!("{:#?} {:?}", d.faults, d.run.sync);
                            println!("{:?}", p.faults);
                            for (n, e) in t.events.iter().enumerate() {
                                if std::env::var("HB").is_err() && e.text.contains("heartbeat") {
                                    continue;
                                }
                                println!(
                                    "{n} {:?} {} {} <- {:?}: {}",
                                    e.at,
                                    e.life,
                                    e.text,
                                    e.cause,
                                    e.effects
                                        .iter()
                                        .map(|e| e.text.clone())
                                        .collect::<Vec<_>>()
                                        .join("; ")
                                );
                            }
                            for (l, s) in &t.statuses {
                                println!("{l}: {s}");
                            }
                        }
                    }
                }
            })
        })
        .collect();
    for h in hs {
        h.join().unwrap();
    }
    let e = t.elapsed().as_secs_f64();
    println!(
        "{n} seeds in {e:.2} s: {:.0} seeds/s, {:.0} events/s",
        n as f64 / e,
        events.load(std::sync::atomic::Ordering::Relaxed) as f64 / e
    );
}
