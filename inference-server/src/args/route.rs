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
    /// The RewardModel whose table and endpoints are followed, in the cluster that this runs in.
    #[arg(long, env = "REWARD_NAME", requires = "namespace")]
    pub(crate) name: Option<String>,
    /// Its namespace.
    #[arg(long, env = "REWARD_NAMESPACE", requires = "name")]
    pub(crate) namespace: Option<String>,
    /// The name that the router has in what it reports.
    #[arg(long, env = "REWARD_POD", default_value = "router")]
    pub(crate) pod: String,
}

/// Where the table comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TableSource {
    /// A file.
    File(PathBuf),
    /// A cluster.
    Cluster {
        /// The namespace of the RewardModel.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl Route {
    /// Where the table comes from.
    ///
    /// # Errors
    /// When the flags name no place.
    pub(crate) fn source(&self) -> anyhow::Result<TableSource> {
        match (&self.table, &self.namespace, &self.name) {
            (Some(file), None, None) => Ok(TableSource::File(file.clone())),
            (None, Some(namespace), Some(name)) => Ok(TableSource::Cluster {
                namespace: namespace.clone(),
                name: name.clone(),
            }),
            (_, _, _) => anyhow::bail!("say --table FILE, or --namespace and --name"),
        }
    }
}
