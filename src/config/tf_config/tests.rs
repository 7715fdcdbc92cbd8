//! All forms of `TF_CONFIG` that cluster engines set, and malformed ones.

use proptest::prelude::*;

use super::*;

/// Returns the role of this task and all addresses, as text.
fn told(text: &str) -> String {
    let config = TfConfig::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let list = |job| match config.hosts(job, None) {
        Ok(Some(hosts)) => hosts.to_string(),
        other => format!("{other:?}"),
    };
    let role = config.role().expect("it has such a task");
    format!("{role:?} of {} and {}", list(Job::Ps), list(Job::Worker))
        .replace("Some(Task(TaskId { job: ", "")
        .replace(", index: ", " ")
        .replace(" }))", "")
}

fn error(text: &str) -> String {
    let config = match TfConfig::parse(text) {
        Ok(config) => config,
        Err(error) => return error.to_string(),
    };
    let hosts = || [Job::Ps, Job::Worker].map(|job| config.hosts(job, None).err()).into_iter();
    let error = config.role().err().or_else(|| hosts().flatten().next());
    error.unwrap_or_else(|| panic!("nothing is wrong with {text}")).to_string()
}

#[test]
fn tf_config_of_the_training_operator_is_read() {
    // The text is from kubeflow/training-operator, pkg/controller.v1/tensorflow, as a pod gets it.
    let text = r#"{"cluster":{"chief":["mnist-chief-0.ml.svc:2222"],
        "evaluator":["mnist-evaluator-0.ml.svc:2222"],
        "ps":["mnist-ps-0.ml.svc:2222","mnist-ps-1.ml.svc:2222"],
        "worker":["mnist-worker-0.ml.svc:2222"]},
        "task":{"type":"worker","index":0},"environment":"cloud"}"#;
    assert_eq!(
        told(text),
        "Worker 1 of mnist-ps-0.ml.svc:2222,mnist-ps-1.ml.svc:2222 and \
         mnist-chief-0.ml.svc:2222,mnist-worker-0.ml.svc:2222"
    );
    for task_type in ["chief", "Chief", "master"] {
        let chief = text.replace("\"worker\",\"index\"", &format!("\"{task_type}\",\"index\""));
        assert!(told(&chief).starts_with("Worker 0 of "), "{chief}");
    }
    let ps = text.replace("\"worker\",\"index\":0", "\"ps\",\"index\":1");
    assert!(told(&ps).starts_with("Ps 1 of "));
}

#[test]
fn tf_config_of_vertex_and_ai_platform_is_read() {
    let text = r#"{"cluster": {"master": ["cmle-training-master-9ef-0:2222"],
        "ps": ["cmle-training-ps-9ef-0:2222"],
        "worker": ["cmle-training-worker-9ef-0:2222", "cmle-training-worker-9ef-1:2222"]},
        "task": {"type": "master", "index": 0, "trial": "1", "cloud": "n1cfdb21a1ea66e0e-tp"},
        "job": "{\"scale_tier\": \"CUSTOM\", \"args\": [\"--x\"]}", "environment": "cloud"}"#;
    assert_eq!(
        told(text),
        "Worker 0 of cmle-training-ps-9ef-0:2222 and cmle-training-master-9ef-0:2222,\
         cmle-training-worker-9ef-0:2222,cmle-training-worker-9ef-1:2222"
    );
}

#[test]
fn examples_of_tensorflow_are_read() {
    // The texts are from TensorFlow's guide to distributed training, from the resolver's docstring,
    // and from the resolver's tests.
    let guide = r#"{"cluster": {"worker": ["host1:12345", "host2:23456"], "ps": ["host3:1"]},
        "task": {"type": "worker", "index": "0"}, "rpc_layer": "grpc", "session_master": "x"}"#;
    assert_eq!(told(guide), "Worker 0 of host3:1 and host1:12345,host2:23456");
    let map = r#"{"cluster": {"worker": {"1": "w1:1", "0": "w0:1"}, "ps": {"0": "p:1"}},
        "task": {"type": "worker", "index": 1}}"#;
    assert_eq!(told(map), "Worker 1 of p:1 and w0:1,w1:1");
    let evaluator = r#"{"cluster": {"chief": ["c:1"], "ps": ["p:1"], "worker": []},
        "task": {"type": "evaluator", "index": 0}}"#;
    assert_eq!(told(evaluator), "Some(Evaluator) of p:1 and c:1");
    let upper =
        r#"{"cluster": {"PS": ["p:1"], "Worker": ["w:1"]}, "task": {"type": "PS", "index": 0}}"#;
    assert_eq!(told(upper), "Ps 0 of p:1 and w:1");
}

#[test]
fn tf_config_without_a_task_or_a_cluster_is_accepted() {
    for text in ["{}", r#"{"task": {}, "cluster": null}"#, r#"{"environment": "local"}"#] {
        let config = TfConfig::parse(text).expect(text);
        assert_eq!((config.role(), config.hosts(Job::Ps, None)), (Ok(None), Ok(None)), "{text}");
    }
}

#[test]
fn sparse_cluster_is_completed_from_the_own_address() {
    let n_tasks = |job| Some(if job == Job::Ps { 2 } else { 3 });
    let list = |text: &str, job| {
        let config = TfConfig::parse(text).expect(text);
        config.hosts(job, n_tasks(job)).expect("it follows").expect("there are some").to_string()
    };
    let worker = r#"{"sparseCluster": {"worker": {"1": "m-worker-1.n.svc:2222"},
        "ps": ["m-ps-0.n.svc:2222", "m-ps-1.n.svc:2222"]}, "task": {"type": "worker", "index": 1}}"#;
    let ps = r#"{"sparseCluster": {"worker": {}, "ps": ["m-ps-1.n.svc:2222"]},
        "task": {"type": "ps", "index": 1}}"#;
    for text in [worker, ps] {
        assert_eq!(list(text, Job::Ps), "m-ps-0.n.svc:2222,m-ps-1.n.svc:2222");
        assert_eq!(
            list(text, Job::Worker),
            "m-worker-0.n.svc:2222,m-worker-1.n.svc:2222,m-worker-2.n.svc:2222"
        );
    }
    assert!(error(worker).contains("--workers N"), "without the size: {}", error(worker));
    let elsewhere = TfConfig::parse(&ps.replace("m-ps-1.n.svc", "10.0.0.1")).unwrap();
    let error = elsewhere.hosts(Job::Worker, Some(3)).expect_err("nothing follows").to_string();
    assert!(error.contains("NAME-ps-1") && error.contains("--worker-hosts"), "{error}");
}

#[test]
fn cluster_map_with_one_worker_is_completed_to_the_number_of_workers() {
    // The first text is from TensorFlow's pull request 48065. The second one has the same worker,
    // with a name as the Training Operator makes it.
    let text = r#"{"cluster":{"ps":["ps0:2222","localhost:2801"],"worker":{"1":"worker1:2222"}},
        "task":{"type":"worker","index":1}}"#;
    let operators = text.replace("worker1", "mnist-worker-1.ml.svc");
    let workers = |text: &str, n| {
        let config = TfConfig::parse(text).expect(text);
        config.hosts(Job::Worker, n).map(|hosts| hosts.expect("there are some").to_string())
    };
    assert_eq!(workers(text, Some(3)).unwrap(), "worker0:2222,worker1:2222,worker2:2222");
    assert_eq!(
        workers(&operators, Some(2)).unwrap(),
        "mnist-worker-0.ml.svc:2222,mnist-worker-1.ml.svc:2222"
    );
    let first = text.replace("1\":\"worker1", "0\":\"worker0").replace(":1}", ":0}");
    assert_eq!(workers(&first, Some(2)).unwrap(), "worker0:2222,worker1:2222");
    assert_eq!(workers(&first, None).unwrap(), "worker0:2222");
    let chief = text.replace("\"ps\":", "\"chief\":[\"c:1\"],\"ps\":");
    assert_eq!(workers(&chief, Some(3)).unwrap(), "c:1,worker0:2222,worker1:2222");
    let ps = TfConfig::parse(text).unwrap().hosts(Job::Ps, Some(2)).unwrap().unwrap();
    assert_eq!(ps.to_string(), "ps0:2222,localhost:2801");

    let told = workers(text, None).unwrap_err().to_string();
    assert!(told.contains("--workers N") && told.contains("--worker-hosts"), "{told}");
    for own in ["10.0.0.1", "node11", "elsewhere"] {
        let told = workers(&text.replace("worker1", own), Some(2)).unwrap_err().to_string();
        assert!(told.contains("give --ps-hosts and --worker-hosts"), "{own}: {told}");
    }
}

#[test]
fn unsupported_tf_config_is_reported_with_key_value_and_remedy() {
    let task = |task: &str| {
        format!(r#"{{"cluster": {{"ps": ["p:1"], "worker": ["w:1"]}}, "task": {task}}}"#)
    };
    let cluster = |cluster: &str| {
        format!(r#"{{"cluster": {cluster}, "task": {{"type": "chief", "index": 0}}}}"#)
    };
    let all = [
        "chief".to_owned(),
        "[]".to_owned(),
        format!("\"{}\"", "x".repeat(200)),
        cluster("[]"),
        cluster(r#"{"ps": "p:1"}"#),
        cluster(r#"{"ps": [1]}"#),
        cluster(r#"{"ps": ["p:1", "grpc://q:1"]}"#),
        cluster(r#"{"ps": {"zero": "p:1"}}"#),
        cluster(r#"{"ps": {"1": "p:1"}, "chief": ["c:1"]}"#),
        cluster(r#"{"ps": ["p:1"], "worker": {"1": "w:1"}, "chief": ["c:1"]}"#),
        cluster(r#"{"chief": ["c:1"], "master": ["c:1"]}"#),
        cluster(r#"{"chief": ["c:1", "d:1"]}"#),
        cluster(r#"{"ps": ["p:1"], "worker": ["w:1"]}"#),
        task("7"),
        task(r#"{"type": "boss", "index": 0}"#),
        task(r#"{"type": 7, "index": 0}"#),
        task(r#"{"index": 0}"#),
        task(r#"{"type": "ps"}"#),
        task(r#"{"type": "ps", "index": -1}"#),
        task(r#"{"type": "ps", "index": "one"}"#),
        task(r#"{"type": "ps", "index": 0.5}"#),
        task(r#"{"type": "ps", "index": 99999999999999999999}"#),
        task(r#"{"type": "chief", "index": 1}"#),
    ]
    .map(|text| error(&text));
    insta::assert_snapshot!(all.join("\n"));
}

/// Returns JSON with known and unknown keys and values.
fn json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "cluster",
        "sparseCluster",
        "task",
        "type",
        "index",
        "ps",
        "worker",
        "chief",
        "master",
        "evaluator",
        "0",
        "1",
        "4294967295",
        "a:1",
        "j-ps-0.n:1",
        "j-worker-0.n:1",
        "",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        let key = word.clone().prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..5)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn arbitrary_tf_config_never_panics(value in json(), n in 1_u32..5, cut in 0_usize..60) {
        let text = value.to_string();
        let end = text.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(text.len());
        for text in [&text, &text[..end]] {
            if let Ok(config) = TfConfig::parse(text) {
                let _ = (config.role(), config.hosts(Job::Ps, Some(n)));
                let _ = (config.hosts(Job::Worker, Some(n)), config.hosts(Job::Worker, None));
            }
        }
    }
}
