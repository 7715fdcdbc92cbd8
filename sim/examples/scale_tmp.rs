use std::sync::Arc;
use std::time::Instant;
use unisono_sim::scenario::*;
use unisono_sim::*;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let (ps, workers): (u32, u32) = (args[1].parse().unwrap(), args[2].parse().unwrap());
    let mut s = Scenario::default();
    s.run.n_ps = ps;
    s.run.placement = unisono::config::Placement::Even;
    s.run.sync =
        unisono::config::Sync { replicas_to_aggregate: workers, total_num_replicas: workers };
    s.expect.oracle = Some(Oracle::Serial);
    s.sim.max_events = 100_000_000;
    let labs = Labs::default();
    let t = Instant::now();
    labs.of(&s.run).unwrap().serial();
    println!("serial {:?}", t.elapsed());
    let t = Instant::now();
    let p = play(
        &Arc::new(s.clone()),
        1,
        &labs,
        PlayOptions { watchdog: std::time::Duration::from_secs(500), ..Default::default() },
    );
    println!(
        "{:?} took {:?} of virtual time, {} events; {:?}, {:.2} us an event",
        p.failure.map(|f| f.to_string()),
        p.took,
        p.n_events,
        t.elapsed(),
        t.elapsed().as_secs_f64() * 1e6 / p.n_events as f64
    );
    let s = std::fs::read_to_string("/proc/self/status").unwrap();
    for l in s.lines().filter(|l| l.starts_with("VmHWM")) {
        println!("{l}");
    }
}
