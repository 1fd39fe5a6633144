//! `inference-server` with ways of being bad: see `e2e::faulty`. It takes the arguments of the real
//! program, which lies beside it.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::Context;
use e2e::faulty::{Arguments, FAILS_OF_1000, Habits, TAKES_MS, serve};
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> anyhow::Result<ExitCode> {
    let real = std::env::current_exe()?.with_file_name("inference-server");
    let mut real = Command::new(real);
    match Arguments::parse(std::env::args().skip(1).collect())? {
        Arguments::Other(all) => Err(real.args(all).exec()).context("start inference-server"),
        Arguments::Serve {
            outside,
            inside,
            inner,
        } => {
            let habits = Habits {
                takes: Duration::from_millis(number(TAKES_MS)?),
                fails_of_1000: number(FAILS_OF_1000)?,
            };
            let child = real.args(inner).spawn().context("start inference-server")?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?;
            let ended = runtime.block_on(async {
                tokio::select! {
                    ended = until_its_end(child) => ended,
                    failed = serve(outside, inside, habits) => Err(failed.err().context("the proxy has ended")?),
                }
            })?;
            let code = ended.code().and_then(|code| u8::try_from(code).ok());
            Ok(ExitCode::from(code.unwrap_or(1)))
        }
    }
}

/// Of an environment variable; 0 where it is not set.
fn number(variable: &str) -> anyhow::Result<u64> {
    let text = std::env::var(variable).ok();
    let number = text.map_or(Ok(0), |text| text.parse());
    number.with_context(|| variable.to_owned())
}

/// The server leaves when it is asked to; the proxy serves until it has left.
async fn until_its_end(mut child: Child) -> anyhow::Result<ExitStatus> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.context("no process")?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        while terminate.recv().await.is_some() {
            // An error means that it has left already.
            let _ = kill_process(pid, Signal::TERM);
        }
    });
    Ok(tokio::task::spawn_blocking(move || child.wait()).await??)
}
