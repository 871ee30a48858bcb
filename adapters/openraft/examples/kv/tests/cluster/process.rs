//! The processes of a cluster.

use std::fs::File;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::Random;

/// Ports below those that the system hands out, so that nobody takes one while its node is down.
const FIRST_PORT: u64 = 20_000;
const PORTS: u64 = 10_000;

pub(crate) struct Cluster {
    engine: String,
    dir: TempDir,
    /// The address for Raft and the one for HTTP of each node.
    addresses: Vec<(String, String)>,
    processes: Vec<Option<Child>>,
}

impl Cluster {
    pub(crate) fn start(engine: &str, seed: u64) -> Self {
        let random = &mut Random(seed);
        let addresses = (0..3).map(|_| (free(random), free(random))).collect();
        let dir = tempfile::tempdir().unwrap();
        let processes = vec![None, None, None];
        let mut cluster = Self { engine: engine.to_owned(), dir, addresses, processes };
        (0..3).for_each(|node| cluster.start_node(node));
        cluster
    }

    pub(crate) fn http(&self) -> Vec<String> {
        self.addresses.iter().map(|(_, http)| http.clone()).collect()
    }

    pub(crate) fn start_node(&mut self, node: u64) {
        let dir = self.dir.path().join(format!("node-{node}"));
        let log = File::options().create(true).append(true).open(dir.with_extension("log"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_kv"));
        command.args(["--engine", &self.engine, "--snapshot-every", "100"]);
        command.arg("--id").arg((node + 1).to_string()).arg("--dir").arg(&dir);
        for (id, (raft, http)) in (1..).zip(&self.addresses) {
            command.arg("--peer").arg(format!("{id}={raft},{http}"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.unwrap());
        *self.process(node) = Some(command.spawn().unwrap());
    }

    /// Fails where a node has ended by itself.
    pub(crate) fn expect_running(&mut self, node: u64) {
        let log = self.dir.path().join(format!("node-{node}.log"));
        if let Some(process) = self.process(node) {
            let ended = process.try_wait().unwrap();
            let said = std::fs::read_to_string(log).unwrap_or_default();
            assert!(ended.is_none(), "node {} ended with {ended:?}: {said}", node + 1);
        }
    }

    /// Ends a node as a crash would.
    pub(crate) fn kill(&mut self, node: u64) {
        self.expect_running(node);
        if let Some(mut process) = self.process(node).take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn process(&mut self, node: u64) -> &mut Option<Child> {
        self.processes.get_mut(usize::try_from(node).unwrap()).unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().flatten() {
            process.kill().ok();
            process.wait().ok();
        }
    }
}

fn free(random: &mut Random) -> String {
    loop {
        let address = format!("127.0.0.1:{}", FIRST_PORT + random.below(PORTS));
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}
