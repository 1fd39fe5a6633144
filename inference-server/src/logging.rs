//! Logs: components by name, in text or JSON.

use anyhow::anyhow;
use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;

/// Sends logs to standard error.
///
/// # Errors
/// When `filter` cannot be read.
pub(crate) fn start(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| anyhow!("--log {filter:?}: {error}; write info,model=debug,api=info"))?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => logs.try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow!("logs: {error}"))
}
