use std::ffi::OsString;
use std::time::Duration;

use super::*;

fn parse_words(line: &str) -> Result<Action, ParseError> {
    parse(
        &CommandLine::read(line.split_whitespace()),
        &Environment::default(),
        &Workload::built_in(),
    )
}

fn task(line: &str) -> TaskConfig {
    match parse_words(line) {
        Ok(Action::Task(config)) => config,
        other => panic!("{line}: {other:?}"),
    }
}

fn error(line: &str) -> String {
    match parse_words(line).expect_err(line) {
        ParseError::Clap(error) => {
            assert_eq!(error.exit_code(), 2, "{line}");
            error.to_string().lines().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
        }
        ParseError::Config(error) => format!("{error:#}"),
    }
}

#[test]
fn help_fits_eighty_columns() {
    let mut cli = Cli::command().term_width(80);
    cli.build();
    let mut all = vec![("unisono".to_owned(), cli.render_help().to_string())];
    for command in cli.get_subcommands_mut() {
        let name = command.get_name().to_owned();
        *command = command.clone().term_width(80);
        if name == "data" {
            for below in command.get_subcommands_mut() {
                let name = format!("data-{}", below.get_name());
                all.push((name, below.clone().term_width(80).render_help().to_string()));
            }
        }
        all.push((name, command.render_help().to_string()));
    }
    for (name, help) in all {
        let wide = help.lines().find(|line| line.chars().count() > 80);
        assert_eq!(wide, None, "{name}");
        insta::assert_snapshot!(format!("help-{name}"), help);
    }
}

#[test]
fn flags_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn command_lines_of_the_original_script_are_read() {
    let original = task(
        "unisono --job_name=ps --task_id=1 --ps_hosts=localhost:20000,localhost:20001 \
         --worker_hosts=localhost:20003,localhost:20004",
    );
    assert_eq!(original.task, TaskId::ps(1));
    assert_eq!(original, task("unisono ps --task-id 1"));
    assert_eq!(original, task("unisono -job_name ps -task_index 1"));
    assert_eq!(task("unisono --job_name=worker"), task("unisono worker"));
    assert_eq!(task("unisono task"), task("unisono worker"));
    assert_eq!(task("unisono task").task, TaskId::CHIEF);
    assert_eq!(task("unisono --task_id=1").task, TaskId::worker(1));
}

#[test]
fn bare_program_prints_help_and_is_a_usage_error_unless_an_engine_names_the_task() {
    let bare = CommandLine::read(["unisono"]);
    let Err(ParseError::Clap(help)) = parse(&bare, &Environment::default(), &Workload::built_in())
    else {
        panic!("a bare command line starts nothing")
    };
    assert_eq!((help.exit_code(), help.use_stderr()), (2, true));
    assert!(help.to_string().contains("unisono local"), "{help}");
    let blank = Environment::from_iter([("TF_CONFIG", " ")]);
    assert!(matches!(parse(&bare, &blank, &Workload::built_in()), Err(ParseError::Clap(_))));

    let cluster = r#"{"ps": ["a:1"], "worker": ["b:1"]}"#;
    let text = format!(r#"{{"cluster": {cluster}, "task": {{"type": "ps", "index": 0}}}}"#);
    let engine = Environment::from_iter([("TF_CONFIG", text)]);
    let Ok(Action::Task(config)) = parse(&bare, &engine, &Workload::built_in()) else {
        panic!("the engine's task")
    };
    assert_eq!(config.task, TaskId::ps(0));
}

#[test]
fn fresh_is_refused_if_an_engine_starts_the_task() {
    assert!(task("unisono worker --fresh").run.fresh);
    assert!(!task("unisono worker").run.fresh);
    let Ok(Action::Local(local)) = parse_words("unisono local --fresh") else { panic!("local") };
    assert!(local.run.fresh);

    let cluster = r#"{"ps": ["a:1"], "worker": ["b:1"]}"#;
    let text = format!(r#"{{"cluster": {cluster}, "task": {{"type": "worker", "index": 0}}}}"#);
    let engine = Environment::from_iter([("TF_CONFIG", text)]);
    let line = CommandLine::read(["unisono", "task", "--fresh"]);
    let Err(ParseError::Config(error)) = parse(&line, &engine, &Workload::built_in()) else {
        panic!("--fresh must be refused")
    };
    assert!(error.to_string().contains("an engine restarts a task"), "{error}");
}

#[test]
fn every_worker_is_aggregated_unless_the_number_is_given() {
    let three = task("unisono worker --worker-hosts a:1,b:1,c:1");
    assert_eq!(three.run.sync.total_num_replicas, 3);
    assert_eq!(three.run.sync.replicas_to_aggregate, 3);
    let two = task("unisono worker --worker-hosts a:1,b:1,c:1 --replicas_to_aggregate=2");
    assert_eq!(two.run.sync.replicas_to_aggregate, 2);
    assert_eq!(two.run.sync.total_num_replicas, 3);
}

#[test]
fn empty_list_of_layers_is_softmax_regression() {
    for hidden in ["--hidden=", "--hidden"] {
        let line = CommandLine::read(
            ["unisono", "local", hidden].into_iter().chain((hidden == "--hidden").then_some("")),
        );
        let Ok(Action::Local(local)) = parse(&line, &Environment::default(), &Workload::built_in())
        else {
            panic!("{line:?}")
        };
        assert!(local.run.train.hidden.is_empty());
    }
}

#[test]
fn every_bad_command_line_is_reported_with_its_remedy() {
    let all = [
        "unisono wroker",
        "unisono lokal",
        "unisono ps --task-id 2",
        "unisono --job_name=worker --task_id=7 --worker_hosts=a:1",
        "unisono --job_name=chief",
        "unisono worker --task-id -1",
        "unisono worker --ps-hosts=",
        "unisono worker --ps_hosts=a:1,,b:1",
        "unisono worker --ps-hosts a:1,a:1",
        "unisono worker --ps-hosts a:1 --worker-hosts a:1",
        "unisono worker --ps-hosts a",
        "unisono local --batch_sise 3",
        "unisono local --batch-size 0",
        "unisono local --learning-rate 0",
        "unisono local --learning-rate=-1",
        "unisono local --learning-rate -1",
        "unisono local --learning-rate-decay 1.5",
        "unisono local --training-steps 1e4",
        "unisono local --replicas-to-aggregate 0",
        "unisono local --hidden 500,",
        "unisono local --moving-average-decay 1",
        "unisono local --optimizer adm",
        "unisono local --order random",
        "unisono local --momentum 0.9",
        "unisono local --ps 0",
        "unisono local --ps-hosts a:1",
        "unisono local --max-restarts 3",
        "unisono local --supervise --max-restarts 0",
        "unisono reference --supervise",
        "unisono local extra",
        "unisono local --metrics 9100",
        "unisono top no/such",
        "unisono top a:9-8",
        "unisono local --metrics 127.0.0.1:65534",
        "unisono local --log-format xml",
        "unisono local --config no/such.toml",
        "unisono eval --watch --eval-interval-secs 0",
        "unisono inspect a b",
        "unisono convert a.npz",
        "unisono convert a.npz b.npy",
        "unisono convert a.npz b.npz",
    ]
    .map(error)
    .join("\n");
    insta::assert_snapshot!(all, @r#"
    error: unrecognized subcommand 'wroker';   tip: a similar subcommand exists: 'worker'; Usage: unisono <COMMAND>; For more information, try '--help'.
    error: unrecognized subcommand 'lokal';   tip: a similar subcommand exists: 'local'; Usage: unisono <COMMAND>; For more information, try '--help'.
    task id 2 is out of range: the job ps has 2 tasks, so --task-id is 0 to 1; or name more hosts in --ps-hosts
    task id 7 is out of range: the job worker has 1 task, so --task-id is 0; or name more hosts in --worker-hosts
    error: invalid value 'chief' for '--job-name <JOB>';   [possible values: ps, worker]; For more information, try '--help'.
    error: invalid value '-1' for '--task-id <N>': -1 is not in 0..=4294967295; For more information, try '--help'.
    error: invalid value '' for '--ps-hosts <HOSTS>': there are no hosts; name at least one host:port, like localhost:20000; For more information, try '--help'.
    error: invalid value 'a:1,,b:1' for '--ps-hosts <HOSTS>': a host in the list is empty; write host:port,host:port with a single comma between; For more information, try '--help'.
    a:1 is the address of ps 0 and of ps 1; give every task its own
    a:1 is the address of ps 0 and of worker 0; give every task its own
    error: invalid value 'a' for '--ps-hosts <HOSTS>': "a": the port is missing; write host:port, like localhost:20000; For more information, try '--help'.
    error: unexpected argument '--batch-sise' found;   tip: a similar argument exists: '--batch-size'; Usage: unisono local --batch-size <N>; For more information, try '--help'.
    error: invalid value '0' for '--batch-size <N>': must be a whole number of at least 1; For more information, try '--help'.
    error: invalid value '0' for '--learning-rate <RATE>': must be a number above 0; For more information, try '--help'.
    error: invalid value '-1' for '--learning-rate <RATE>': must be a number above 0; For more information, try '--help'.
    error: invalid value '-1' for '--learning-rate <RATE>': must be a number above 0; For more information, try '--help'.
    error: invalid value '1.5' for '--learning-rate-decay <FACTOR>': must be a number above 0 and at most 1; For more information, try '--help'.
    error: invalid value '1e4' for '--training-steps <STEPS>': must be a whole number of at least 1; For more information, try '--help'.
    error: invalid value '0' for '--replicas-to-aggregate <R>': must be a whole number from 1 to 4096; For more information, try '--help'.
    error: invalid value '500,' for '--hidden <SIZES>': must be sizes from 1 to 65536, at most 16 of them, such as 500 or 300,100; For more information, try '--help'.
    error: invalid value '1' for '--moving-average-decay <DECAY>': must be a number above 0 and below 1; For more information, try '--help'.
    error: invalid value 'adm' for '--optimizer <NAME>';   [possible values: sgd, momentum, adam];   tip: a similar value exists: 'adam'; For more information, try '--help'.
    error: invalid value 'random' for '--order <ORDER>';   [possible values: shuffled, partitioned, sequential]; For more information, try '--help'.
    --momentum is a parameter of the momentum optimizer, but the optimizer is sgd: give --optimizer momentum, or leave --momentum out
    error: invalid value '0' for '--ps <N>': must be a whole number from 1 to 64; For more information, try '--help'.
    error: unexpected argument '--ps-hosts' found;   tip: a similar argument exists: '--ps'; Usage: unisono local --ps <N>; For more information, try '--help'.
    --max-restarts 3 has no effect without --supervise: give --supervise, or leave --max-restarts out
    error: invalid value '0' for '--max-restarts <N>': must be a whole number from 1 to 1000000; For more information, try '--help'.
    error: unexpected argument '--supervise' found; Usage: unisono reference [OPTIONS]; For more information, try '--help'.
    error: unexpected argument 'extra' found; Usage: unisono local [OPTIONS]; For more information, try '--help'.
    error: invalid value '9100' for '--metrics <ADDRESS>': "9100": write host:port, like 127.0.0.1:9100; For more information, try '--help'.
    there is no folder no/such; name a logdir, or the addresses of the tasks' metrics, like 127.0.0.1:9100 or 127.0.0.1:9100-9103
    a:9-8: the last port is below the first
    --metrics 127.0.0.1:65534 leaves no port for worker 1, because the tasks have consecutive ports: choose a lower port, or 0 to let the system choose
    error: invalid value 'xml' for '--log-format <FORM>';   [possible values: text, json]; For more information, try '--help'.
    cannot read the configuration file no/such.toml: No such file or directory (os error 2)
    --eval-interval-secs must be above 0
    error: unexpected argument 'b' found; Usage: unisono inspect [OPTIONS] [FILE]; For more information, try '--help'.
    error: the following required arguments were not provided:;   <TO>; Usage: unisono convert <FROM> <TO>; For more information, try '--help'.
    b.npy: give a name that ends in .safetensors or .npz
    both files are npz, so there is nothing to convert
    "#);
}

#[test]
fn eval_reads_its_folders_from_the_file_of_a_run() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "[data]\ndata_dir = \"d\"\n[checkpoint]\nlogdir = \"l\"\n[train]\nseed = 3";
    std::fs::write(file.path(), text).unwrap();
    let path = file.path().display();
    let expected = EvalConfig {
        logdir: "l".into(),
        data_dir: Some("e".into()),
        validation_size: None,
        test_size: None,
        label_column: None,
        watch: Some(Duration::from_secs(10)),
        until: None,
        notes: Vec::new(),
    };
    let parsed = parse_words(&format!("unisono eval --config {path} --data_dir e --watch"));
    assert!(matches!(parsed, Ok(Action::Eval(config)) if config == expected));
}

#[test]
fn tasks_restart_only_with_supervise() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[local]\nsupervise = true\nmax_restarts = 4").unwrap();
    let path = file.path().display();
    for (flags, expected) in [
        (String::new(), None),
        ("--supervise".to_owned(), Some(10)),
        ("--supervise --max-restarts 3".to_owned(), Some(3)),
        ("--supervise=false".to_owned(), None),
        (format!("--config {path}"), Some(4)),
        (format!("--config {path} --max-restarts=5"), Some(5)),
    ] {
        let parsed = parse_words(&format!("unisono local {flags}"));
        let Ok(Action::Local(local)) = parsed else { panic!("{flags}: {parsed:?}") };
        assert_eq!(local.max_restarts, expected, "{flags}");
    }
}

#[test]
fn arguments_after_sim_are_passed_on_unchanged() {
    let parsed = parse_words("unisono sim run --help a_b --trace_out");
    let expected = ["run", "--help", "a_b", "--trace_out"].map(OsString::from).to_vec();
    assert!(matches!(parsed, Ok(Action::Sim(arguments)) if arguments == expected));
}
