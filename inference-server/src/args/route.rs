//! `route`.

use std::path::PathBuf;

use super::ApiArgs;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Route {
    #[command(flatten)]
    pub(crate) api: ApiArgs,
    /// The traffic table: a file that may change while the router runs
    /// (`inference-server/traffic/schema/table.json`).
    #[arg(long, env = "REWARD_TABLE", value_name = "FILE")]
    pub(crate) table: PathBuf,
    /// The name that the router has in what it reports.
    #[arg(long, env = "REWARD_POD", default_value = "router")]
    pub(crate) pod: String,
}
