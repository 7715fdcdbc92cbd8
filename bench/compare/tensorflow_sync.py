"""Runs one task of the original script's cluster on TensorFlow 2's compat.v1, with TensorFlow's
SyncReplicasOptimizer, replica_device_setter and Supervisor. The model is 784-500-10, with batches of
100."""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow
from mnist import Batches, training_part

tf = tensorflow.compat.v1
BATCH_SIZE = 100
REGULARIZATION_RATE = 1e-4


def loss_of(images, labels):
    initial = tf.truncated_normal_initializer(stddev=0.1)
    zeros = tf.zeros_initializer()
    weights1 = tf.get_variable("layer1/weights", [784, 500], initializer=initial)
    biases1 = tf.get_variable("layer1/biases", [500], initializer=zeros)
    hidden = tf.nn.relu(tf.matmul(images, weights1) + biases1)
    weights2 = tf.get_variable("layer2/weights", [500, 10], initializer=initial)
    biases2 = tf.get_variable("layer2/biases", [10], initializer=zeros)
    logits = tf.matmul(hidden, weights2) + biases2
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(logits=logits, labels=labels)
    squares = tf.nn.l2_loss(weights1) + tf.nn.l2_loss(weights2)
    return tf.reduce_mean(entropy) + REGULARIZATION_RATE * squares


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", choices=["ps", "worker"], required=True)
    parser.add_argument("--task", type=int, required=True)
    parser.add_argument("--ps-hosts", required=True)
    parser.add_argument("--worker-hosts", required=True)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--warm-up", type=int, required=True)
    args = parser.parse_args()

    tf.disable_v2_behavior()
    hosts = {"ps": args.ps_hosts.split(","), "worker": args.worker_hosts.split(",")}
    cluster = tf.train.ClusterSpec(hosts)
    config = tf.ConfigProto(allow_soft_placement=True)
    server = tf.train.Server(cluster, job_name=args.job, task_index=args.task, config=config)
    if args.job == "ps":
        server.join()

    rows, classes = training_part(args.data_dir)
    batches = Batches(len(rows), BATCH_SIZE, args.task)
    is_chief, n_workers = args.task == 0, len(hosts["worker"])
    device = tf.train.replica_device_setter(
        worker_device=f"/job:worker/task:{args.task}", cluster=cluster
    )
    with tf.device(device):
        images = tf.placeholder(tf.float32, [None, 784])
        labels = tf.placeholder(tf.int64, [None])
        loss = loss_of(images, labels)
        global_step = tf.Variable(0, trainable=False, name="global_step")
        rate = tf.train.exponential_decay(0.01, global_step, 60000 / BATCH_SIZE, 0.99)
        optimizer = tf.train.SyncReplicasOptimizer(
            tf.train.GradientDescentOptimizer(rate),
            replicas_to_aggregate=n_workers,
            total_num_replicas=n_workers,
        )
        train = optimizer.minimize(loss, global_step=global_step)
        initialize = tf.global_variables_initializer()
        if is_chief:
            runner, tokens = optimizer.get_chief_queue_runner(), optimizer.get_init_tokens_op(0)
        supervisor = tf.train.Supervisor(
            is_chief=is_chief,
            logdir=None,
            init_op=initialize,
            summary_op=None,
            saver=None,
            global_step=global_step,
            recovery_wait_secs=1,
        )
        session = supervisor.prepare_or_wait_for_session(server.target, config=config)
        if is_chief:
            supervisor.start_queue_runners(session, [runner])
            session.run(tokens)

        began = None
        while True:
            chosen = batches.next()
            feed = {images: rows[chosen], labels: classes[chosen]}
            _, value, step = session.run([train, loss, global_step], feed_dict=feed)
            if began is None and step >= args.warm_up:
                began = (step, time.monotonic())
            if step >= args.steps:
                break
        rate = (step - began[0]) / (time.monotonic() - began[1])
        print(f"RATE {rate} LOSS {value}", flush=True)
        # Closing the session would wait for the ps, which never end.
        os._exit(0)


main()
