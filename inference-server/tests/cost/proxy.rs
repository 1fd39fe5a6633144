//! The two that are compared: started, measured by what /proc says of their processes, and ended.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::load::Key;
use crate::upstream::Upstream;

/// A program between the load and the upstreams.
pub(crate) struct Proxy {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // nginx ends its workers when it is asked to, and not when it is killed.
        let id = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let _ = self.child.wait();
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

impl Proxy {
    fn start(address: SocketAddr, command: &mut Command) -> Self {
        let child = command.stderr(Stdio::null()).spawn();
        let proxy = Self {
            child: child.unwrap(),
            address,
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "it does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        proxy
    }

    /// Ours: a tenth of the keys is the canary's.
    pub(crate) fn route(folder: &Path, key: Key, upstreams: &[Upstream; 2]) -> Self {
        let rows = [("Stable", 9_000), ("Canary", 1_000)].into_iter();
        let rows = rows.zip(upstreams).map(|((role, weight), upstream)| {
            json!({"revision": upstream.revision, "role": role, "weight": weight, "endpoints": [upstream.address]})
        });
        let mut table = table(rows.collect());
        if key == Key::Header {
            table["key"] = json!({"header": "x-user"});
        }
        Self::with_table(folder, &table)
    }

    /// Ours: all users are in an experiment of two arms with four metrics, or nobody is.
    pub(crate) fn on_trial(folder: &Path, upstreams: &[Upstream; 2], is_on: bool) -> Self {
        let [control, other] = upstreams;
        let row = json!({"revision": control.revision, "role": "Stable", "weight": 10_000, "endpoints": [control.address]});
        let mut table = table(vec![row]);
        table["key"] = json!({"header": "x-user"});
        if is_on {
            table["experiment"] = json!({
                "name": "e", "uid": "e1", "epoch": 1, "salt": "salt", "mode": "Split", "control": "v1",
                "variants": [
                    {"name": "v1", "slots": [[0, 5_000]]},
                    {"name": "v2", "revision": other.revision, "endpoints": [other.address], "slots": [[5_000, 10_000]]},
                ],
                "metrics": [
                    {"name": "reward", "signal": "Score"},
                    {"name": "errors", "signal": "Errors"},
                    {"name": "time", "signal": "Latency"},
                    {"name": "clicks", "event": "click"},
                ],
            });
        }
        let folder = folder.join(if is_on { "on" } else { "off" });
        std::fs::create_dir_all(&folder).unwrap();
        Self::with_table(&folder, &table)
    }

    /// Ours: nobody has the canary, and where `is_on` all that stable answers is to be scored by it too.
    pub(crate) fn shadowing(folder: &Path, upstreams: &[Upstream; 2], is_on: bool) -> Self {
        let rows = [("Stable", 10_000), ("Canary", 0)].into_iter();
        let rows = rows.zip(upstreams).map(|((role, weight), upstream)| {
            json!({"revision": upstream.revision, "role": role, "weight": weight, "endpoints": [upstream.address]})
        });
        let mut table = table(rows.collect());
        if is_on {
            table["shadow"] = json!({"percent": 100, "timeoutMs": 2_000});
        }
        let folder = folder.join(if is_on { "shadow" } else { "none" });
        std::fs::create_dir_all(&folder).unwrap();
        Self::with_table(&folder, &table)
    }

    /// What its metric says of requests that were to be shadowed, with an outcome.
    pub(crate) fn shadowed(&self, outcome: &str) -> u64 {
        let url = format!("http://{}/metrics", self.address);
        let output = Command::new("curl").args(["-sf", &url]).output().unwrap();
        let wanted = format!("reward_router_shadowed_total{{outcome=\"{outcome}\"}} ");
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&wanted));
        line.unwrap().parse().unwrap()
    }

    /// Ours, with as many endpoints of one revision.
    pub(crate) fn with_endpoints(folder: &Path, upstream: &Upstream, count: u32) -> Self {
        let port = upstream.address.port();
        let address = |n: u32| format!("127.1.{}.{}:{port}", n / 250, n % 250 + 1);
        let endpoints: Vec<String> = (0..count).map(address).collect();
        let row = json!({"revision": upstream.revision, "role": "Stable", "weight": 10_000, "endpoints": endpoints});
        Self::with_table(folder, &table(vec![row]))
    }

    fn with_table(folder: &Path, table: &serde_json::Value) -> Self {
        let file = folder.join("table.json");
        std::fs::write(&file, table.to_string()).unwrap();
        let address = free_address();
        let program = env!("CARGO_BIN_EXE_inference-server");
        let mut command = Command::new(program);
        command
            .args(["route", "--table", file.to_str().unwrap()])
            .args(["--listen", &address.to_string(), "--drain-delay", "0s"]);
        let proxy = Self::start(address, &mut command);
        let url = format!("http://{address}/health/ready");
        let deadline = Instant::now() + Duration::from_mins(1);
        while !Command::new(program)
            .args(["health", "--url", &url])
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
        {
            assert!(Instant::now() < deadline, "it does not become ready");
            std::thread::sleep(Duration::from_millis(100));
        }
        proxy
    }

    /// nginx, with the same shares. The body is there to be hashed because the mirror module, which
    /// sends nothing here, has read it before.
    pub(crate) fn nginx(folder: &Path, key: Key, upstreams: &[Upstream; 2]) -> Self {
        let address = free_address();
        let (variable, reads) = match key {
            Key::Header => ("$http_x_user", ""),
            Key::Body => ("$request_body", "mirror /nowhere;"),
        };
        let [stable, canary] = upstreams.each_ref().map(|upstream| upstream.address);
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {}/{name};\n", folder.display()))
            .concat();
        let text = format!(
            "daemon off; worker_processes auto; pid {folder}/nginx.pid; error_log stderr crit;
             events {{ worker_connections 4096; }}
             http {{
                 access_log off; keepalive_requests 1000000; client_body_buffer_size 64k;
                 {temporary}
                 upstream stable {{ server {stable}; keepalive 64; keepalive_requests 1000000; }}
                 upstream canary {{ server {canary}; keepalive 64; keepalive_requests 1000000; }}
                 split_clients \"{variable}\" $revision {{ 10% canary; * stable; }}
                 server {{
                     listen {address};
                     location / {{
                         {reads}
                         proxy_http_version 1.1;
                         proxy_set_header Connection \"\";
                         proxy_pass http://$revision;
                     }}
                     location = /nowhere {{ internal; return 204; }}
                 }}
             }}",
            folder = folder.display()
        );
        let file = folder.join("nginx.conf");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-c").arg(&file).arg("-p").arg(folder);
        Self::start(address, &mut command)
    }

    /// What its processes have computed so far.
    pub(crate) fn cpu(&self) -> Duration {
        let own = self.child.id();
        let of = |fields: &[u64]| fields[11] + fields[12];
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let stats = ids.filter_map(|id| Some((id, stat(id)?)));
        let ours = stats.filter(|(id, fields)| *id == own || fields[1] == u64::from(own));
        let ticks: u64 = ours.map(|(_, fields)| of(&fields)).sum();
        Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second())
    }

    /// Its resident memory in megabytes, once it has settled.
    pub(crate) fn resident(&self) -> f64 {
        std::thread::sleep(Duration::from_secs(3));
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        let pages: u32 = statm.split(' ').nth(1).unwrap().parse().unwrap();
        let page = u32::try_from(rustix::param::page_size()).unwrap();
        f64::from(pages) * f64::from(page) / 1e6
    }
}

/// The numbers of proc(5), stat, from the third field on: the state is 0, the parent 1, times 11 and 12.
fn stat(id: u32) -> Option<Vec<u64>> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, after) = text.rsplit_once(") ")?;
    let number = |field: &str| field.trim().parse().unwrap_or_default();
    Some(after.split(' ').map(number).collect())
}

fn table(rows: Vec<serde_json::Value>) -> serde_json::Value {
    json!({
        "schemaVersion": 1, "generation": 1, "salt": "u/1", "rollout": "1", "revisions": rows,
        "model": {"namespace": "n", "name": "m", "uid": "u"},
    })
}
