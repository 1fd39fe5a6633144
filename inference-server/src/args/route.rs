//! `route`.

use std::path::PathBuf;

use super::ApiArgs;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Route {
    #[command(flatten)]
    pub(crate) api: ApiArgs,
    /// The traffic table: a file that may change while the router runs
    /// (`inference-server/traffic/schema/table.json`).
    #[arg(
        long,
        env = "REWARD_TABLE",
        value_name = "FILE",
        required_unless_present = "name",
        conflicts_with = "name"
    )]
    pub(crate) table: Option<PathBuf>,
    /// The model whose ConfigMap NAME-traffic is the table, in the cluster that this runs in.
    #[arg(long, env = "REWARD_NAME", requires = "namespace")]
    pub(crate) name: Option<String>,
    /// Its namespace.
    #[arg(long, env = "REWARD_NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// The name that the router has in what it reports.
    #[arg(long, env = "REWARD_POD", default_value = "router")]
    pub(crate) pod: String,
}
