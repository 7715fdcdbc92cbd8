//! Tests the exact message of every kind of mistake: the line, the mistake and the correction.

use std::fmt::Write as _;
use std::path::Path;

use crate::scenario::{Scenario, ScenarioError};

/// Returns the error messages of some files, in the order of the files.
fn errors(files: &[&str]) -> String {
    let error = |text: &&str| Scenario::parse(text, "a.toml").expect_err(text).to_string();
    files.iter().map(error).collect::<Vec<_>>().join("\n")
}

/// Returns the error messages of some faults. Each text contains all keys of a fault except the id.
fn fault_errors(faults: &[&str]) -> String {
    let files: Vec<_> =
        faults.iter().map(|fault| format!("[[fault]]\nid = \"f\"\n{fault}")).collect();
    errors(&files.iter().map(String::as_str).collect::<Vec<_>>())
}

fn error_of(files: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let error = Scenario::load(&folder.path().join(files[0].0)).unwrap_err();
    error.to_string().replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn unknown_sections_and_keys_are_refused() {
    let all = errors(&[
        "[netwrok]",
        "[zzz]",
        "latency = \"1ms\"",
        "train = 1",
        "network = 1",
        "fault = 1",
        "[network]\nlatencyy = \"1ms\"",
        "[network]\nzzz = 1",
        "[network]\nworkers = 1",
        "[train]\nbatch_sise = 1",
        "[train]\nlogdir = \"x\"",
        "[[network.link]]\nform = \"worker 1\"",
        "[expect]\nrollback = 0",
        "[chaos]\nfamilys = []",
        "[limits]\nheartbeat = \"1s\"",
        "[[expect.event]]\nevent = \"saves\"\ncount = 1",
    ]);
    insta::assert_snapshot!(all, @r#"
    a.toml:1: there is no section [netwrok]; did you mean [network]?
        [netwrok]
    a.toml:1: there is no section [zzz]; there are [train], [model], [cluster], [sync], [limits], [compute], [network], [storage], [sim], [fault], [chaos], [expect], [liveness]
        [zzz]
    a.toml:1: the key latency belongs in the section [network]
        latency = "1ms"
    a.toml:1: train is a table: write [train]
        train = 1
    a.toml:1: network is a table: write [network]
        network = 1
    a.toml:1: fault: it must be an array of tables: write [[fault]], not 1
        fault = 1
    a.toml:2: unknown key latencyy in [network]; did you mean latency?
        latencyy = "1ms"
    a.toml:2: unknown key zzz in [network]; it has wire, latency, jitter, bandwidth, nic, tensor_factor, connect_timeout, link
        zzz = 1
    a.toml:2: unknown key workers in [network]; it belongs in [cluster]
        workers = 1
    a.toml:2: unknown key batch_sise in [train]; did you mean batch_size?
        batch_sise = 1
    a.toml:2: unknown key logdir in [train]; it has batch_size, learning_rate, learning_rate_decay, decay_steps, regularization_rate, moving_average_decay, training_steps, model, hidden, layers, input, loss, optimizer, momentum, nesterov, beta1, beta2, epsilon, seed, order
        logdir = "x"
    a.toml:2: unknown key form in [[network.link]]; did you mean from?
        form = "worker 1"
    a.toml:2: unknown key rollback in [expect]; did you mean rollbacks?
        rollback = 0
    a.toml:2: unknown key familys in [chaos]; did you mean families?
        familys = []
    a.toml:2: unknown key heartbeat in [limits]; did you mean heartbeat_timeout?
        heartbeat = "1s"
    a.toml:3: unknown key count in [[expect.event]]; it has event, node, step, times
        count = 1
    "#);
}

#[test]
fn values_of_a_wrong_type_or_range_are_refused() {
    let all = errors(&[
        "[train]\nbatch_size = \"many\"",
        "[train]\nmomentum = 0.5",
        "[train]\noptimizer = \"adaam\"",
        "[cluster]\nworkers = 0",
        "[cluster]\nworkers = \"3\"",
        "[cluster]\nps = 65",
        "[cluster]\nplacement = \"evenly\"",
        "[cluster]\nstart = \"3s\"",
        "[sync]\nreplicas_to_aggregate = 5000",
        "[sim]\nseeds = 0",
        "[network]\nwire = \"shard\"",
        "[network]\nlatency = 100",
        "[network]\nlatency = \"100\"",
        "[network]\nlatency = \"-1ms\"",
        "[network]\nlatency = \"1mss\"",
        "[network]\nbandwidth = \"0MB\"",
        "[network]\nbandwidth = 1000",
        "[network]\nconnect_timeout = \"0s\"",
        "[limits]\nheartbeat_timeout = \"1s\"",
        "[limits]\nreconnect_min = \"2s\"",
        "[chaos]\nswarm = \"yes\"",
        "[chaos]\nfamilies = [\"crash\", \"crahs\"]",
        "[chaos]\nfamilies = []",
        "[chaos]\nworkers = { min = 3, max = 1 }",
        "[chaos]\nworkers = { min = 0, max = 1 }",
        "[chaos]\nworkers = { least = 0 }",
        "[chaos]\nwithin = \"1h\"",
        "[network",
        "[sim]\nseeds = 99999999999999999999",
    ]);
    insta::assert_snapshot!(all, @r#"
    a.toml:2: batch_size: invalid type: string "many", expected a whole number of at least 1
        batch_size = "many"
    a.toml:2: momentum is a parameter of the momentum optimizer, but the optimizer is sgd: write optimizer = "momentum", or leave momentum out
        momentum = 0.5
    a.toml:2: optimizer: "adaam" is none of sgd, momentum, adam; did you mean adam?
        optimizer = "adaam"
    a.toml:2: workers: it must be a whole number from 1 to 4096, not 0
        workers = 0
    a.toml:2: workers: it must be a whole number from 1 to 4096, not "3"
        workers = "3"
    a.toml:2: ps: it must be a whole number from 1 to 64, not 65
        ps = 65
    a.toml:2: placement: there is no placement "evenly"; did you mean "even"?
        placement = "evenly"
    a.toml:2: start: it must be a table such as { "worker 1" = "3s" }, not "3s"
        start = "3s"
    a.toml:2: replicas_to_aggregate: it must be a whole number from 1 to 4096, not 5000
        replicas_to_aggregate = 5000
    a.toml:2: seeds: it must be a whole number from 1 to 1000000, not 0
        seeds = 0
    a.toml:2: wire: there is no wire "shard"; did you mean "shared"?
        wire = "shard"
    a.toml:2: latency: it must be a string with a unit, such as "100us" or "1.5s", not 100
        latency = 100
    a.toml:2: latency: "100" has no unit; write one like "100us" or "1.5s"
        latency = "100"
    a.toml:2: latency: "-1ms" is negative; a duration is 0 or above
        latency = "-1ms"
    a.toml:2: latency: "1mss": there is no unit mss; did you mean ms?
        latency = "1mss"
    a.toml:2: bandwidth: "0MB": nothing would ever arrive; give a rate above 0, or a partition fault
        bandwidth = "0MB"
    a.toml:2: bandwidth: it must be a string with a unit, such as "1Gbit" or "50MB", not 1000
        bandwidth = 1000
    a.toml:2: connect_timeout: it must be above 0
        connect_timeout = "0s"
    a.toml:2: heartbeat_timeout (1s) is too small for heartbeat_interval (2s): raise heartbeat_timeout
        heartbeat_timeout = "1s"
    a.toml:2: reconnect_max (1s) is too small for reconnect_min (2s): raise reconnect_max
        reconnect_min = "2s"
    a.toml:2: swarm: it must be true or false, without quotes, not "yes"
        swarm = "yes"
    a.toml:2: families: there is no kind of fault "crahs"; did you mean "crash"?
        families = ["crash", "crahs"]
    a.toml:2: families: the array is empty; name kinds of faults, or omit the key
        families = []
    a.toml:2: workers: the range is empty, because min is above max
        workers = { min = 3, max = 1 }
    a.toml:2: workers: it must be a whole number from 1 to 4096, not 0
        workers = { min = 0, max = 1 }
    a.toml:2: workers: unknown key least; a range has min and max
        workers = { least = 0 }
    a.toml:2: within: faults would begin after max_virtual_time, when the run is given up
        within = "1h"
    a.toml:1: unclosed table, expected `]`
        [network
    a.toml:2: seeds: it must be a whole number from 1 to 1000000, not 99999999999999999999
        seeds = 99999999999999999999
    "#);
}

#[test]
fn wrong_distributions_are_refused() {
    let all = [
        "{ uniform = [\"3ms\", \"1ms\"] }",
        "{ uniform = \"1ms\" }",
        "{ uniform = [\"1ms\"] }",
        "{ unifrom = [\"1ms\", \"3ms\"] }",
        "{ const = \"1ms\", min = \"1ms\" }",
        "{ usual = \"1ms\", rare = \"2ms\" }",
        "{ usual = \"1ms\", rare = \"2ms\", share = 1.5 }",
        "{ pareto = 0, min = \"1ms\", max = \"2ms\" }",
        "{ pareto = 1, min = \"3ms\", max = \"2ms\" }",
        "{}",
    ]
    .map(|text| format!("[compute]\ngradient = {text}"));
    let all: Vec<_> = all.iter().map(String::as_str).collect();
    insta::assert_snapshot!(errors(&all), @r#"
    a.toml:2: uniform: the first duration must not be above the second
        gradient = { uniform = ["3ms", "1ms"] }
    a.toml:2: uniform: it must be two durations, such as ["1ms", "3ms"], not "1ms"
        gradient = { uniform = "1ms" }
    a.toml:2: uniform: it must be two durations, such as ["1ms", "3ms"]
        gradient = { uniform = ["1ms"] }
    a.toml:2: gradient: unknown key unifrom; did you mean uniform?
        gradient = { unifrom = ["1ms", "3ms"] }
    a.toml:2: gradient: min cannot be combined with const; write one of { const = "20ms" }, { uniform = ["1ms", "3ms"] }, { exponential = "2ms", min = "1ms" }, { usual = "1ms", rare = "50ms", share = 0.01 }, { pareto = 1.5, min = "1ms", max = "50ms" }
        gradient = { const = "1ms", min = "1ms" }
    a.toml:2: gradient: share is missing; write { usual = "1ms", rare = "50ms", share = 0.01 }
        gradient = { usual = "1ms", rare = "2ms" }
    a.toml:2: share: it must be a probability from 0 to 1, not 1.5
        gradient = { usual = "1ms", rare = "2ms", share = 1.5 }
    a.toml:2: pareto: it must be a number above 0, not 0
        gradient = { pareto = 0, min = "1ms", max = "2ms" }
    a.toml:2: max: it must not be below min
        gradient = { pareto = 1, min = "3ms", max = "2ms" }
    a.toml:2: gradient: this is not a distribution; write one of { const = "20ms" }, { uniform = ["1ms", "3ms"] }, { exponential = "2ms", min = "1ms" }, { usual = "1ms", rare = "50ms", share = 0.01 }, { pareto = 1.5, min = "1ms", max = "50ms" }
        gradient = {}
    "#);
}

#[test]
fn faults_with_wrong_kinds_and_keys_are_refused() {
    let all = fault_errors(&[
        "kind = \"crahs\"\nnode = \"worker 1\"\nat = \"1ms\"",
        "node = \"worker 1\"",
        "kind = \"crash\"\nat = \"1ms\"",
        "kind = \"crash\"\nnode = \"worker 1\"\nfactor = 2\nat = \"1ms\"",
        "kind = \"disk\"\nmode = \"enospc\"\nnode = \"chief\"\nat = \"1ms\"",
        "kind = \"disk\"\nmode = \"slow\"\nat = \"1ms\"",
        "kind = \"disk\"\nmode = \"eio\"\nfactor = 3\nat = \"1ms\"",
        "kind = \"disk\"\nmode = \"full\"\nat = \"1ms\"",
        "kind = \"slow\"\nnode = \"workers\"\nfactor = 0\nat = \"1ms\"",
        "kind = \"narrow-link\"\nfrom = \"workers\"\nto = \"ps\"\nrate = \"0B\"\nat = \"1ms\"",
        "kind = \"clock\"\nnode = \"ps 0\"\nat = \"1ms\"",
        "kind = \"clock\"\nnode = \"ps 0\"\njump = \"-1s\"\nat = \"1ms\"",
    ]);
    insta::assert_snapshot!(all, @r#"
    a.toml:3: kind: there is no kind of fault "crahs"; did you mean "crash"?
        kind = "crahs"
    a.toml:1: kind is missing in [[fault]]; the kinds are crash, pause, stop, slow, delay, partition, reset, half-open, duplicate, connect, corrupt, narrow-link, slow-reader, disk, clock, gradient
        [[fault]]
    a.toml:1: node is missing in [[fault]]; it takes: tasks
        [[fault]]
    a.toml:5: a crash fault has no factor; beside the keys of every fault, it has node, peers, power_loss
        factor = 2
    a.toml:5: a disk fault has no node; it is the chief's disk, and needs no target; beside the keys of every fault, it has mode, factor
        node = "chief"
    a.toml:4: mode: "slow" needs factor: the factor by which an operation takes longer
        mode = "slow"
    a.toml:5: factor: only mode = "slow" has it; write that, or leave factor out
        factor = 3
    a.toml:4: mode: there is no mode of disks "full"; there are "enospc", "eio", "torn", "failed-sync", "lost-unsynced", "bit-flip", "slow"
        mode = "full"
    a.toml:5: factor: it must be a number above 0, not 0
        factor = 0
    a.toml:6: rate: "0B": nothing would ever arrive; give a rate above 0, or a partition fault
        rate = "0B"
    a.toml:1: no clock changes; give skew_ppm, jump or set_back
        [[fault]]
    a.toml:5: jump: "-1s" is negative; a duration is 0 or above
        jump = "-1s"
    "#);
}

#[test]
fn impossible_targets_are_refused() {
    let all = fault_errors(&[
        "kind = \"crash\"\nnode = \"worker 7\"\nat = \"1ms\"\n[cluster]\nworkers = 3",
        "kind = \"crash\"\nnode = \"ps 1\"\nat = \"1ms\"\n[cluster]\nps = 1",
        "kind = \"crash\"\nnode = \"worker\"\nat = \"1ms\"",
        "kind = \"crash\"\nnode = \"worker one\"\nat = \"1ms\"",
        "kind = \"crash\"\nnode = 1\nat = \"1ms\"",
        "kind = \"crash\"\nnode = \"ps 1\"\nat = \"1ms\"\n[chaos]\nps = { min = 1, max = 3 }",
        "kind = \"reset\"\nfrom = \"worker 1\"\nto = \"worker 1\"\nat = \"1ms\"",
        "kind = \"reset\"\nfrom = \"worker 1\"\nto = \"chief\"\nat = \"1ms\"",
        "kind = \"reset\"\nfrom = \"ps 1\"\nto = \"ps 0\"\nat = \"1ms\"",
        "kind = \"connect\"\nfrom = \"ps 1\"\nto = \"worker 1\"\nat = \"1ms\"",
        "kind = \"gradient\"\nnode = \"ps\"\nmode = \"nan\"\nat = \"1ms\"",
    ]);
    insta::assert_snapshot!(all, @r#"
    a.toml:4: node: there is no worker 7 in a cluster of 3 workers; the last one is worker 2
        node = "worker 7"
    a.toml:4: node: there is no ps 1 in a cluster of 1 ps; the last one is ps 0
        node = "ps 1"
    a.toml:4: node: there is no task "worker"; did you mean "workers"?
        node = "worker"
    a.toml:4: node: there is no task "worker one"; did you mean "worker 0"?
        node = "worker one"
    a.toml:4: node: it must be a task such as "worker 1", or "workers", "ps" or "all", not 1
        node = 1
    a.toml:4: node: there is no ps 1 in a cluster of 1 ps; the last one is ps 0
        node = "ps 1"
    a.toml:5: to: from and to are both worker 1, but a task has no link to itself
        to = "worker 1"
    a.toml:5: to: there is no link between worker 1 and chief: workers have links with ps, and if R is below N each ps has one with ps 0
        to = "chief"
    a.toml:5: to: there is no link between ps 1 and ps 0: workers have links with ps, and if R is below N each ps has one with ps 0
        to = "ps 0"
    a.toml:4: from: no task calls a worker; workers call ps: exchange from and to
        from = "ps 1"
    a.toml:4: node: a ps computes no gradients; name workers
        node = "ps"
    "#);
    let all = errors(&[
        "[cluster]\nstart = { \"worker 2\" = \"1s\" }",
        "[cluster]\nstart = { workers = \"1s\" }",
        "[cluster]\nstart = { chief = \"1s\", \"worker 0\" = \"2s\" }",
        "[cluster]\nstart = { chief = \"1h\" }",
        "[[cluster.wrong]]\nnode = \"chief\"\nkey = \"batch\"\nvalue = \"1\"",
        "[[cluster.wrong]]\nnode = \"chief\"\nkey = \"batch_size\"\nvalue = \"10\"",
        "[[compute.task]]\nnode = \"workers\"\ntime = \"1ms\"",
        "[[network.link]]\nfrom = \"ps\"\nto = \"ps\"\nlatency = \"1ms\"",
        "[[network.link]]\nfrom = \"ps\"\nto = \"workers\"",
        "[[expect.event]]\nevent = \"saves\"\nnode = \"ps\"",
    ]);
    insta::assert_snapshot!(all, @r#"
    a.toml:2: there is no worker 2 in a cluster of 2 workers; the last one is worker 1
        start = { "worker 2" = "1s" }
    a.toml:2: workers: one task must be named here, such as "worker 1"
        start = { workers = "1s" }
    a.toml:2: worker 0: worker 0 is named twice
        start = { chief = "1s", "worker 0" = "2s" }
    a.toml:2: chief: the run is given up at 600s, its max_virtual_time
        start = { chief = "1h" }
    a.toml:3: key: there is no setting that tasks compare "batch"; did you mean "batch_size"?
        key = "batch"
    a.toml:4: value: "10" is the run's own value; give a different value
        value = "10"
    a.toml:2: node: it must be one task, such as "worker 1", not "workers"
        node = "workers"
    a.toml:3: to: there is no link between ps and ps: workers have links with ps, and if R is below N each ps has one with ps 0
        to = "ps"
    a.toml:1: the link equals all others: give latency, jitter or bandwidth
        [[network.link]]
    a.toml:3: node: it must be one task, such as "worker 1", not "ps"
        node = "ps"
    "#);
}

#[test]
fn impossible_beginnings_and_ends_of_faults_are_refused() {
    let crash = |rest: &str| format!("kind = \"crash\"\nnode = \"worker 1\"\n{rest}");
    let all = [
        "for = \"1s\"",
        "at = \"1ms\"\nat_step = 5",
        "at = \"1ms\"\non = {}",
        "at = \"1h\"",
        "at = \"-1ms\"",
        "at_step = 21",
        "at_step = -1",
        "at_step = 5\nuntil_step = 5",
        "at_step = 5\nuntil_step = 21",
        "at = \"1ms\"\nfor = \"1ms\"\nuntil_step = 5",
        "at = \"1ms\"\nfor = \"0s\"",
        "on = \"saves\"",
        "on = { event = \"send-push\" }",
        "on = { event = \"zzz\" }",
        "on = { evnet = \"saves\" }",
        "on = { event = \"sends-push\", step = 20 }",
        "on = { event = \"sends-version\", step = 21 }",
        "on = { event = \"saves\", step = 1 }",
        "on = { event = \"saves\", nth = 0 }",
        "on = { event = \"saves\", when = \"during\" }",
        "on = { event = \"computes\", step = 7 }\nuntil_step = 7",
    ]
    .map(crash);
    let all: Vec<_> = all.iter().map(String::as_str).collect();
    insta::assert_snapshot!(fault_errors(&all), @r#"
    a.toml:1: the fault has no beginning; give at, at_step or on
        [[fault]]
    a.toml:6: at_step: the start of the fault is given by at, too; give one of them
        at_step = 5
    a.toml:6: on: the start of the fault is given by at, too; give one of them
        on = {}
    a.toml:5: at: the run is given up at 600s, its max_virtual_time
        at = "1h"
    a.toml:5: at: "-1ms" is negative; a duration is 0 or above
        at = "-1ms"
    a.toml:5: at_step: 21 never comes: the run ends at version 20, its training_steps
        at_step = 21
    a.toml:5: at_step: it must be a whole number of 0 or above, not -1
        at_step = -1
    a.toml:6: until_step: the fault begins at step 5, so it must end later
        until_step = 5
    a.toml:6: until_step: 21 never comes: the run ends at version 20, its training_steps
        until_step = 21
    a.toml:7: until_step: the end of the fault is given by for, too; give one of them
        until_step = 5
    a.toml:6: for: it must be above 0
        for = "0s"
    a.toml:5: on is a table: write on = { … }
        on = "saves"
    a.toml:5: event: there is no event "send-push"; did you mean "sends-push"?
        on = { event = "send-push" }
    a.toml:5: event: there is no event "zzz"; docs/simulation.md lists them all
        on = { event = "zzz" }
    a.toml:5: unknown key evnet in on = { … }; did you mean event?
        on = { evnet = "saves" }
    a.toml:5: step: 20 never comes: the last of the 20 training_steps is 19
        on = { event = "sends-push", step = 20 }
    a.toml:5: step: 21 never comes: the run ends at version 20, its training_steps
        on = { event = "sends-version", step = 21 }
    a.toml:5: step: saves has no step; leave step out
        on = { event = "saves", step = 1 }
    a.toml:5: nth: it must be a whole number of 1 or above, not 0
        on = { event = "saves", nth = 0 }
    a.toml:5: when: there is no side "during"; there are "before", "after"
        on = { event = "saves", when = "during" }
    a.toml:6: until_step: the fault begins at step 7, so it must end later
        until_step = 7
    "#);
    let all = fault_errors(&[
        "kind = \"reset\"\nfrom = \"workers\"\nto = \"ps\"\nat = \"1ms\"\nfor = \"1s\"",
        "kind = \"duplicate\"\nfrom = \"workers\"\nto = \"ps\"\nat = \"1ms\"\nuntil_step = 9",
        "kind = \"pause\"\nnode = \"all\"\nat = \"1ms\"\nuntil_step = 9",
    ]);
    insta::assert_snapshot!(all, @r#"
    a.toml:7: for: a reset fault ends as soon as it has begun; leave for out
        for = "1s"
    a.toml:7: until_step: a duplicate fault ends as soon as it has begun; leave until_step out
        until_step = 9
    a.toml:6: until_step: the fault also stops ps 0, so that step never comes; give for
        until_step = 9
    "#);
}

#[test]
fn faults_without_a_unique_id_are_refused() {
    let fault = "kind = \"pause\"\nnode = \"chief\"\nat = \"1ms\"";
    let all = errors(&[
        &format!("[[fault]]\nid = \"a\"\n{fault}\n[[fault]]\nid = \"a\"\n{fault}"),
        &format!("[[fault]]\nid = \"\"\n{fault}"),
        &format!("[[fault]]\n{fault}"),
    ]);
    insta::assert_snapshot!(all, @r#"
    a.toml:7: id: another fault is called "a", too
        id = "a"
    a.toml:2: id: it is empty; reports name a fault by it
        id = ""
    a.toml:1: id is missing in [[fault]]; it takes: text
        [[fault]]
    "#);
}

#[test]
fn contradictory_expectations_are_refused() {
    let all = errors(&[
        "[expect]\noutcome = \"failed\"",
        "[expect]\nbecause = \"NaN\"",
        "[expect]\noutcome = \"failed\"\nbecause = \"NaN\"\nfinal_step = 20",
        "[expect]\nfinal_step = 19",
        "[expect]\nfinal_step = 21",
        "[expect]\noutcome = \"ended\"",
        "[expect]\noracle = \"serial\"\n[cluster]\nworkers = 3\n[sync]\nreplicas_to_aggregate = 2",
        "[expect]\noracle = \"serial\"\n[chaos]\nworkers = { max = 3 }",
        "[expect]\ngradients_per_update = 3",
        "[expect]\nstale = { min = 3, max = 2 }",
        "[expect]\nvirtual_time = { min = \"3s\", max = \"2s\" }",
        "[expect]\nvirtual_time = \"1h\"",
        "[expect]\nrollbacks = \"none\"",
        "[[expect.event]]\nevent = \"computs\"",
        "[[expect.event]]\nevent = \"computes\"\nstep = 20",
    ]);
    insta::assert_snapshot!(all, @r#"
    a.toml:2: outcome: "failed" needs because: a part of the failure's text
        outcome = "failed"
    a.toml:2: because: only outcome = "failed" has it; write that, or leave because out
        because = "NaN"
    a.toml:4: final_step: a run whose last checkpoint is of step 20, its training_steps, has finished, but the outcome is "failed"
        final_step = 20
    a.toml:2: final_step: a run that finishes ends at step 20, its training_steps
        final_step = 19
    a.toml:2: final_step: 21 never comes: the run ends at version 20, its training_steps
        final_step = 21
    a.toml:2: outcome: there is no outcome "ended"; there are "finished", "failed", "any"
        outcome = "ended"
    a.toml:2: oracle: with R below N timing chooses the slots, and a serial run cannot know them; write "provenance"
        oracle = "serial"
    a.toml:2: oracle: with R below N timing chooses the slots, and a serial run cannot know them; write "provenance"
        oracle = "serial"
    a.toml:2: gradients_per_update: an update uses exactly R gradients, and R is 2
        gradients_per_update = 3
    a.toml:2: stale: the range is empty, because min is above max
        stale = { min = 3, max = 2 }
    a.toml:2: virtual_time: the range is empty, because min is above max
        virtual_time = { min = "3s", max = "2s" }
    a.toml:2: virtual_time: the run is given up at 600s, its max_virtual_time
        virtual_time = "1h"
    a.toml:2: rollbacks: it must be a whole number of 0 or above, not "none"
        rollbacks = "none"
    a.toml:2: event: there is no event "computs"; did you mean "computes"?
        event = "computs"
    a.toml:3: step: 20 never comes: the last of the 20 training_steps is 19
        step = 20
    "#);
}

#[test]
fn wrong_extends_are_refused() {
    let mut all = String::new();
    for files in [
        &[("a.toml", "\nextends = \"b.toml\""), ("b.toml", "extends = \"./a.toml\"")][..],
        &[("a.toml", "extends = \"a.toml\"")],
        &[("a.toml", "extends = \"none.toml\"")],
        &[("a.toml", "extends = 3")],
        &[("a.toml", "extends = \"b.toml\""), ("b.toml", "# A base.\n\n[netwrok]")],
        &[("a.toml", "extends = \"b.toml\""), ("b.toml", "[network]\nlatency = ")],
        &[
            ("a.toml", "extends = \"b.toml\"\n[cluster]\nworkers = 1"),
            ("b.toml", "[[fault]]\nid = \"f\"\nkind = \"pause\"\nnode = \"worker 1\"\nat = \"0s\""),
        ],
        &[
            ("a.toml", "extends = \"b.toml\"\n\n[sim]\nseeds = 0"),
            ("b.toml", "[sim]\n\n\nseeds = 3"),
        ],
    ] {
        writeln!(all, "{}", error_of(files)).unwrap();
    }
    insta::assert_snapshot!(all, @r#"
    b.toml:1: extends: the files extend each other in a circle: a.toml → b.toml → ./a.toml
        extends = "./a.toml"
    a.toml:1: extends: the files extend each other in a circle: a.toml → a.toml
        extends = "a.toml"
    a.toml:1: extends: cannot read none.toml: No such file or directory (os error 2); the path is relative to this file
        extends = "none.toml"
    a.toml:1: extends: write the path of a file, relative to this one
        extends = 3
    b.toml:3: there is no section [netwrok]; did you mean [network]?
        [netwrok]
    b.toml:2: string values must be quoted, expected literal string
        latency =
    b.toml:4: node: there is no worker 1 in a cluster of 1 worker; the last one is worker 0
        node = "worker 1"
    a.toml:4: seeds: it must be a whole number from 1 to 1000000, not 0
        seeds = 0
    "#);
    insta::assert_snapshot!(errors(&["extends = \"b.toml\""]), @r#"
    a.toml:1: extends: only a scenario that is a file can extend another
        extends = "b.toml"
    "#);
}

#[test]
fn missing_file_is_named_in_the_error() {
    let error = Scenario::load(Path::new("no/such.toml")).unwrap_err();
    assert!(matches!(error, ScenarioError::Unreadable { .. }));
    assert_eq!(error.to_string(), "cannot read the scenario no/such.toml");
}
