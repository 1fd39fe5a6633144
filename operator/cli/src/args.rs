//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, Subcommand, ValueEnum};

/// Commands to reward models and experiments, and what there is to know of both, from your own machine.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl rewards",
    bin_name = "kubectl rewards",
    version,
    about,
    after_help = "Exit codes: 0 done, 1 failed (a file or the cluster), 2 used wrongly (flags, manifests, evidence)."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// Where a command asks; as with kubectl, before or after its name.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Cluster {
    /// The namespace; that of the current context when absent.
    #[arg(short, long, global = true)]
    pub(crate) namespace: Option<String>,
    /// The context of the kubeconfig.
    #[arg(long, global = true)]
    pub(crate) context: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Says how many users an experiment needs, and for how long, before it begins.
    Plan(Box<Plan>),
    /// Runs the decision over recorded evidence, by the operator's own code.
    Replay(Replay),
    /// Says why an endpoint serves what its spec does not, and what to commit; or how an experiment stands.
    Explain(Explain),
    /// Gives the new revision all traffic now, past the steps and gates that are left.
    Promote(Order),
    /// Takes the new revision, or an experiment, off the traffic.
    Abort(Order),
    /// Brings the revision before back.
    Rollback(Order),
    /// Tries a revision again that has failed.
    Retry(Order),
    /// Holds a rollout or an experiment where it is.
    Pause(Order),
    /// Goes on after a pause, or gives a gate its time again.
    Resume(Order),
    /// Approves a promotion, or an experiment's verdict.
    Approve(Order),
    /// Goes past the step that a rollout is at.
    SkipStep(Order),
    /// Says how the last rollouts of a RewardModel ended.
    History(History),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    Json,
}

/// A number of one metric, or of the only one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Given {
    pub(crate) metric: Option<String>,
    pub(crate) number: f64,
}

impl FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (metric, number) = match text.split_once('=') {
            Some((metric, number)) => (Some(metric.to_owned()), number),
            None => (None, text),
        };
        let parsed = number.parse::<f64>().ok().filter(|of| of.is_finite());
        let number = parsed.ok_or_else(|| {
            format!(
                "{number:?} is no number: write 0.3, or METRIC=0.3 for one metric of the manifest"
            )
        })?;
        Ok(Self { metric, number })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanKind {
    /// The part of users who do something at least once: --baseline.
    Proportion,
    /// The mean of a number per user: --sd.
    Mean,
    /// The mean of a number per event or request, of which a user has several: --sd, or --baseline where it is
    /// a share; --events-per-user and --icc.
    Ratio,
    /// Differences of scores of the same requests (mode Paired): --sd and --correlation.
    Paired,
    /// Labelled pairs that are put in the right order (mode Paired): --discordance, and --baseline for Split.
    PairedAccuracy,
}

#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Plan {
    /// An ABExperiment: its metrics, weights, effects and levels. `-` is standard input.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) filename: Option<PathBuf>,
    /// Of the manifest's metrics, this one alone; without it all goals.
    #[arg(long, requires = "filename")]
    pub(crate) metric: Option<String>,
    /// What is compared, where there is no manifest.
    #[arg(
        long,
        value_enum,
        required_unless_present = "filename",
        conflicts_with = "filename"
    )]
    pub(crate) kind: Option<PlanKind>,
    /// Control's value: of a share, 0 to 1.
    #[arg(long, value_name = "[METRIC=]NUMBER")]
    pub(crate) baseline: Vec<Given>,
    /// The standard deviation of one user's number; of one event's or request's with --events-per-user.
    #[arg(long, value_name = "[METRIC=]NUMBER")]
    pub(crate) sd: Vec<Given>,
    /// The smallest effect that matters, in the metric's units; the manifest's minimumEffect when absent.
    #[arg(long, value_name = "[METRIC=]NUMBER")]
    pub(crate) mde: Vec<Given>,
    /// Of the scores that two variants give the same request.
    #[arg(long, value_name = "[METRIC=]NUMBER", allow_negative_numbers = true)]
    pub(crate) correlation: Vec<Given>,
    /// The part of labelled pairs that exactly one of both variants puts in the right order.
    #[arg(long, value_name = "[METRIC=]NUMBER")]
    pub(crate) discordance: Vec<Given>,
    /// How many events or requests a user has.
    #[arg(long, value_name = "[METRIC=]NUMBER")]
    pub(crate) events_per_user: Vec<Given>,
    /// How alike events of one user are (intraclass correlation): 0 not at all, 1 all the same.
    #[arg(long, value_name = "[METRIC=]NUMBER")]
    pub(crate) icc: Vec<Given>,
    /// Weights of control and the others, such as 50/50 or 90/5/5.
    #[arg(long, conflicts_with = "filename", default_value = "50/50")]
    pub(crate) split: String,
    /// Users that come for the first time in a day.
    #[arg(long)]
    pub(crate) users_per_day: Option<f64>,
    /// Requests, or labelled pairs, a day: for mode Paired.
    #[arg(long)]
    pub(crate) pairs_per_day: Option<f64>,
    /// The part of experiments that are to find an effect of that size.
    #[arg(long, default_value_t = 0.8)]
    pub(crate) power: f64,
    /// The probability of a wrong verdict, promotion and rollback together; that of the manifest, or 0.05.
    #[arg(long)]
    pub(crate) alpha: Option<f64>,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: Output,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Replay {
    /// The ABExperiment to judge by; with its status, slots and frozen sizes are those of the status.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) filename: PathBuf,
    /// What was recorded: `kubectl get configmap -l betterai.dev/experiment=NAME -o yaml`, or a table of users
    /// (.csv with a head, or .jsonl): user, variant, at (RFC 3339), and a column for each metric.
    #[arg(short, long, required = true, num_args = 1.., value_name = "FILE")]
    pub(crate) evidence: Vec<PathBuf>,
    /// For how long it is taken to have run, such as 26h, where the evidence has no times; minDuration when absent.
    #[arg(long)]
    pub(crate) elapsed: Option<String>,
    /// Looks at a table with times, evenly spread over them.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) looks: u32,
    /// Prints a line for each look.
    #[arg(long)]
    pub(crate) each: bool,
    /// How the answer is written; JSON has the fields of an ABExperiment's status.
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: Output,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Explain {
    /// NAME of a RewardModel, or abexperiment/NAME.
    pub(crate) name: String,
}

/// A command to the operator. It is answered once, and the answer is printed.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Order {
    /// NAME of a RewardModel, or abexperiment/NAME.
    pub(crate) name: String,
    /// Only where it is still about this revision, or variant of an experiment: what comes too late does nothing.
    #[arg(long)]
    pub(crate) revision: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct History {
    /// NAME of a RewardModel.
    pub(crate) name: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_namespace_stands_before_or_after_the_command_as_with_kubectl() {
        for line in [
            "-n team explain m",
            "explain -n team m",
            "explain m --namespace=team",
        ] {
            let words = std::iter::once("kubectl-rewards").chain(line.split(' '));
            let args = Args::try_parse_from(words).unwrap();
            assert_eq!(args.cluster.namespace.as_deref(), Some("team"), "{line}");
        }
    }

    #[test]
    fn a_number_may_name_its_metric() {
        let given = |text: &str| text.parse::<Given>();
        assert_eq!(given("0.3").unwrap().metric, None);
        let of = given("clicks=0.3").unwrap();
        assert_eq!((of.metric.as_deref(), of.number), (Some("clicks"), 0.3));
        for bad in ["", "a", "clicks=", "nan", "inf", "clicks=1e999", "30%"] {
            let why = given(bad).unwrap_err();
            assert!(why.contains("write 0.3"), "{bad}: {why}");
        }
    }
}
