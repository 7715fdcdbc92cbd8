//! Tests of the sources that determine the task of a process, and of their precedence.

use super::*;

const TF_CONFIG: &str = r#"{
    "cluster": {"chief": ["c:1"], "ps": ["p:1", "q:1"], "worker": ["v:1", "w:1"]},
    "task": {"type": "worker", "index": 1}
}"#;

fn hosts(ps: &str, workers: &str) -> HostKeys {
    let list = |text: &str| (!text.is_empty()).then(|| text.parse().expect("hosts"));
    HostKeys { ps_hosts: list(ps), worker_hosts: list(workers) }
}

fn size(ps: u32, workers: u32) -> SizeKeys {
    let tasks = |n: u32| n.to_string().parse().ok();
    SizeKeys { ps: tasks(ps), workers: tasks(workers) }
}

fn source(cluster: ClusterSource) -> ClusterArgs {
    ClusterArgs { cluster: Some(cluster), ..ClusterArgs::default() }
}

fn tf_config(text: &str) -> Environment {
    Environment::from_iter([("TF_CONFIG", text)])
}

fn slurm(rank: &str) -> Environment {
    [
        ("SLURM_PROCID", rank),
        ("SLURM_STEP_NODELIST", "n[1-2]"),
        ("SLURM_STEP_TASKS_PER_NODE", "2(x2)"),
        ("SLURM_STEP_NUM_TASKS", "4"),
    ]
    .into_iter()
    .collect()
}

/// Returns the role and the cluster, followed by the notes, each on its own line.
fn told(asked: Asked, environment: &Environment) -> String {
    let Found { role, cluster, is_placed, notes } = asked.find(environment).expect("it is enough");
    let all: Vec<_> = cluster.tasks().map(|(task, at)| format!("{task} {at}")).collect();
    let by = if is_placed { "placed" } else { "listed" };
    [vec![format!("{}, {by}: {}", name(role), all.join(", "))], notes].concat().join("\n")
}

fn error(asked: Asked, environment: &Environment) -> String {
    unisono_terminal::in_one_line(&asked.find(environment).expect_err("it is wrong"))
}

#[test]
fn tf_config_alone_suffices_and_the_chief_is_worker_0() {
    assert_eq!(
        told(Asked::default(), &tf_config(TF_CONFIG)),
        "worker 2, placed: ps 0 p:1, ps 1 q:1, worker 0 c:1, worker 1 v:1, worker 2 w:1"
    );
    let chief = TF_CONFIG.replace("\"worker\", \"index\": 1", "\"chief\", \"index\": 0");
    assert!(told(Asked::default(), &tf_config(&chief)).starts_with("worker 0, placed: "));
    let evaluator = TF_CONFIG.replace("\"worker\", \"index\": 1", "\"evaluator\", \"index\": 0");
    assert!(told(Asked::default(), &tf_config(&evaluator)).starts_with("an evaluator, placed: "));
}

#[test]
fn flags_override_tf_config_which_overrides_the_file_with_notes() {
    let asked = Asked {
        job: Some(Job::Ps),
        task_id: Some(0),
        hosts: hosts("a:1,q:1", ""),
        file: (hosts("x:1", "y:1"), size(2, 5)),
        ..Asked::default()
    };
    insta::assert_snapshot!(told(asked, &tf_config(TF_CONFIG)), @r"
    ps 0, placed: ps 0 a:1, ps 1 q:1, worker 0 c:1, worker 1 v:1, worker 2 w:1
    --ps-hosts says a:1,q:1, and overrides TF_CONFIG, which says p:1,q:1
    TF_CONFIG says p:1,q:1, and overrides ps_hosts in the file, which says x:1
    TF_CONFIG says c:1,v:1,w:1, and overrides worker_hosts in the file, which says y:1
    the list of hosts says 3, and overrides workers in the file, which says 5
    the command line says ps 0, and overrides TF_CONFIG, which says worker 2
    ");
    let same = Asked { hosts: hosts("p:1,q:1", ""), task_id: Some(2), ..Asked::default() };
    assert_eq!(told(same, &tf_config(TF_CONFIG)).lines().count(), 1, "they agree");
}

#[test]
fn flags_complete_tf_config() {
    let asked = || Asked {
        job: Some(Job::Worker),
        task_id: Some(0),
        hosts: hosts("p:1", "w:1"),
        ..Asked::default()
    };
    assert_eq!(told(asked(), &tf_config("{}")), "worker 0, placed: ps 0 p:1, worker 0 w:1");
    let listed = "worker 0, listed: ps 0 p:1, worker 0 w:1";
    let by_hand = Asked { cluster: source(ClusterSource::Hosts), ..asked() };
    assert_eq!(told(by_hand, &tf_config("nonsense")), listed);
    assert_eq!(told(asked(), &Environment::default()), listed);
}

#[test]
fn sparse_cluster_is_complete_with_its_size() {
    let sparse = r#"{"sparseCluster": {"ps": ["j-ps-1.n.svc:2222"], "worker": {}},
                     "task": {"type": "ps", "index": 1}}"#;
    let asked = Asked { file: (HostKeys::default(), size(2, 1)), ..Asked::default() };
    assert_eq!(
        told(asked, &tf_config(sparse)),
        "ps 1, placed: ps 0 j-ps-0.n.svc:2222, ps 1 j-ps-1.n.svc:2222, worker 0 j-worker-0.n.svc:2222"
    );
}

#[test]
fn first_ranks_of_a_slurm_step_are_ps() {
    let asked = || Asked {
        cluster: ClusterArgs { ps: "1".parse().ok(), ..source(ClusterSource::Slurm) },
        ..Asked::default()
    };
    assert_eq!(
        told(asked(), &slurm("0")),
        "ps 0, placed: ps 0 n1:8888, worker 0 n1:8889, worker 1 n2:8888, worker 2 n2:8889"
    );
    assert!(told(asked(), &slurm("3")).starts_with("worker 2, placed: "));
    let with_port = Asked {
        cluster: ClusterArgs { port_base: Some(2222), ..asked().cluster },
        job: Some(Job::Worker),
        ..asked()
    };
    assert!(told(with_port, &slurm("1")).starts_with("worker 0, placed: ps 0 n1:2222, "));
    // A shell in a Slurm allocation also has Slurm's environment, so that environment only counts
    // with --cluster slurm.
    assert!(told(Asked::default(), &slurm("1")).starts_with("worker 0, listed: "));
}

#[test]
fn incomplete_or_contradictory_cluster_is_reported_with_its_remedy() {
    let of_tf = |text: &str| error(Asked::default(), &tf_config(text));
    let with_slurm = |cluster, rank| error(Asked { cluster, ..Asked::default() }, &slurm(rank));
    let of_slurm = |ps: &str| ClusterArgs { ps: ps.parse().ok(), ..source(ClusterSource::Slurm) };
    let all = [
        of_tf("{}"),
        of_tf(r#"{"cluster": {"chief": ["c:1"]}, "task": {"type": "chief", "index": 0}}"#),
        of_tf(r#"{"cluster": {"ps": ["p:1"]}, "task": {"type": "ps", "index": 0}}"#),
        of_tf(r#"{"cluster": {"ps": ["p:1"], "worker": ["w:1"]}}"#),
        of_tf(
            r#"{"cluster": {"ps": ["p:1"], "worker": ["w:1"]}, "task": {"type": "ps", "index": 1}}"#,
        ),
        of_tf(&TF_CONFIG.replace("\"index\": 1", "\"index\": 2")),
        of_tf(
            r#"{"cluster": {"ps": ["p:1"], "worker": ["p:1"]}, "task": {"type": "ps", "index": 0}}"#,
        ),
        of_tf(r#"{"cluster": {"ps": ["p"]}}"#),
        of_tf("chief"),
        error(Asked { job: Some(Job::Ps), ..Asked::default() }, &tf_config(TF_CONFIG)),
        error(
            Asked {
                cluster: ClusterArgs { ps: "1".parse().ok(), ..ClusterArgs::default() },
                ..Asked::default()
            },
            &tf_config(TF_CONFIG),
        ),
        error(
            Asked { cluster: source(ClusterSource::TfConfig), ..Asked::default() },
            &Environment::default(),
        ),
        with_slurm(source(ClusterSource::Slurm), "0"),
        with_slurm(of_slurm("4"), "0"),
        with_slurm(of_slurm("1"), "4"),
        with_slurm(ClusterArgs { port_base: Some(65_535), ..of_slurm("1") }, "0"),
        with_slurm(ClusterArgs { port_base: Some(1), ..ClusterArgs::default() }, "0"),
        error(Asked { cluster: of_slurm("1"), ..Asked::default() }, &Environment::default()),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn flags_replace_the_addresses_of_nodes_named_by_numbers() {
    let environment = |nodes: &str| -> Environment {
        [
            ("SLURM_PROCID", "1"),
            ("SLURM_STEP_NODELIST", nodes),
            ("SLURM_STEP_TASKS_PER_NODE", "1(x2)"),
            ("SLURM_STEP_NUM_TASKS", "2"),
        ]
        .into_iter()
        .collect()
    };
    let asked = |hosts| {
        let cluster = ClusterArgs { ps: size(1, 1).ps, ..source(ClusterSource::Slurm) };
        Asked { cluster, hosts, ..Asked::default() }
    };
    let number = environment("[1001-1002]");
    let remedy = error(asked(hosts("", "")), &number);
    assert!(remedy.contains("the node 1001") && remedy.contains("--worker-hosts"), "{remedy}");
    assert_eq!(
        told(asked(hosts("1001.site:8888", "10.0.0.2:8888")), &number),
        "worker 0, placed: ps 0 1001.site:8888, worker 0 10.0.0.2:8888"
    );
    // The number is too long for an IPv4 address, so resolvers look it up as a name.
    assert_eq!(
        told(asked(hosts("", "")), &environment("12345678901[1-2]")),
        "worker 0, placed: ps 0 123456789011:8888, worker 0 123456789012:8888"
    );
}

#[test]
fn cluster_map_with_one_worker_is_completed_to_the_number_of_workers() {
    let text = r#"{"cluster": {"ps": ["ps0:2222", "localhost:2801"],
        "worker": {"1": "worker1:2222"}}, "task": {"type": "worker", "index": 1}}"#;
    let cluster = |n_workers| {
        let SizeKeys { ps, workers } = size(2, n_workers);
        Asked { cluster: ClusterArgs { ps, workers, ..ClusterArgs::default() }, ..Asked::default() }
    };
    assert_eq!(
        told(cluster(2), &tf_config(text)),
        "worker 1, placed: ps 0 ps0:2222, ps 1 localhost:2801, worker 0 worker0:2222, worker 1 \
         worker1:2222"
    );
    let out_of_range = error(cluster(1), &tf_config(text));
    assert!(out_of_range.contains("out of range"), "{out_of_range}");
    let without = error(Asked::default(), &tf_config(text));
    assert!(without.contains("--workers N") && without.contains("--worker-hosts"), "{without}");
    let flags = Asked { hosts: hosts("", "v:1,w:1"), ..Asked::default() };
    assert!(told(flags, &tf_config(text)).starts_with("worker 1, placed: "));
}
