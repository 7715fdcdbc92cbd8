//! Environments of job steps as Slurm sets them, and malformed environments.

use super::*;

/// Returns the environment of one task. Its step has five tasks on four nodes.
fn environment(changes: &[(&str, &str)]) -> Environment {
    let step = [
        ("SLURM_PROCID", "2"),
        ("SLURM_STEP_NODELIST", "node[9-11],login"),
        ("SLURM_STEP_TASKS_PER_NODE", "2,1(x3)"),
        ("SLURM_STEP_NUM_TASKS", "5"),
        ("SLURM_NODEID", "1"),
        ("SLURM_LOCALID", "0"),
        ("SLURMD_NODENAME", "node10"),
    ];
    step.into_iter().chain(changes.iter().copied()).collect()
}

fn error(changes: &[(&str, &str)]) -> String {
    SlurmStep::read(&environment(changes)).expect_err("it is wrong").to_string()
}

#[test]
fn first_ranks_are_ps_and_every_task_has_the_next_port_of_its_node() {
    let step = SlurmStep::read(&environment(&[])).unwrap();
    assert_eq!(step.task(2), TaskId::worker(0));
    assert_eq!(step.task(3), TaskId::ps(2));
    let cluster = step.cluster(2, 8888).unwrap();
    let all: Vec<_> = cluster.tasks().map(|(task, at)| format!("{task} {at}")).collect();
    assert_eq!(
        all,
        [
            "ps 0 node9:8888",
            "ps 1 node9:8889",
            "worker 0 node10:8888",
            "worker 1 node11:8888",
            "worker 2 login:8888"
        ]
    );
}

#[test]
fn all_ranks_see_the_same_cluster() {
    let places = [("0", "0", "0", "node9"), ("1", "0", "1", "node9"), ("4", "3", "0", "login")];
    let clusters = places.map(|(rank, node, local, name)| {
        let changes = [
            ("SLURM_PROCID", rank),
            ("SLURM_NODEID", node),
            ("SLURM_LOCALID", local),
            ("SLURMD_NODENAME", name),
        ];
        SlurmStep::read(&environment(&changes)).expect(rank).cluster(1, 2222).unwrap()
    });
    assert!(clusters.iter().all(|cluster| *cluster == clusters[0]));
}

#[test]
fn variables_of_the_own_node_may_be_missing() {
    let bare = [("SLURM_NODEID", ""), ("SLURM_LOCALID", ""), ("SLURMD_NODENAME", "")];
    assert!(SlurmStep::read(&environment(&bare)).is_ok());
}

#[test]
fn slurm_step_without_block_distribution_is_reported_with_its_remedy() {
    let mut all = vec![
        error(&[("SLURM_PROCID", "")]),
        error(&[("SLURM_PROCID", "-1")]),
        error(&[("SLURM_PROCID", "5")]),
        error(&[("SLURM_STEP_NODELIST", "node[9-11")]),
        error(&[("SLURM_STEP_NODELIST", "node[9-11]")]),
        error(&[("SLURM_STEP_TASKS_PER_NODE", "2,1(x3")]),
        error(&[("SLURM_STEP_TASKS_PER_NODE", "2,0,1,2")]),
        error(&[("SLURM_STEP_TASKS_PER_NODE", "60000(x60000)")]),
        error(&[("SLURM_STEP_NUM_TASKS", "4")]),
        // Slurm has distributed the ranks in turn, so ranks 0 and 4 are on the first node.
        error(&[("SLURM_PROCID", "1")]),
        error(&[("SLURM_LOCALID", "1")]),
        error(&[("SLURMD_NODENAME", "node11")]),
    ];
    let step = SlurmStep::read(&environment(&[])).unwrap();
    let of_cluster = |n_ps, base| step.cluster(n_ps, base).expect_err("it is wrong").to_string();
    all.extend([of_cluster(5, 8888), of_cluster(1, 65535)]);
    let same = [("SLURM_STEP_NODELIST", "a,b,a,c"), ("SLURMD_NODENAME", "b")];
    let twice = SlurmStep::read(&environment(&same)).unwrap();
    all.push(twice.cluster(1, 1).expect_err("a is there twice").to_string());
    insta::assert_snapshot!(all.join("\n"));
}
