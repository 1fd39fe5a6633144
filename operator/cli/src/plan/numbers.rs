//! The numbers that flags give of a metric.

use std::cell::RefCell;

use crate::args::{Given, Plan};

/// The flags that say something of a metric.
const FLAGS: [&str; 7] = [
    "--baseline",
    "--sd",
    "--mde",
    "--correlation",
    "--discordance",
    "--events-per-user",
    "--icc",
];

/// What is given of one metric, and which of it was of use.
pub(super) struct Numbers<'a> {
    plan: &'a Plan,
    metric: Option<&'a str>,
    used: RefCell<Vec<&'static str>>,
}

impl<'a> Numbers<'a> {
    pub(super) fn of(plan: &'a Plan, metric: Option<&'a str>) -> Self {
        Self {
            plan,
            metric,
            used: RefCell::default(),
        }
    }

    fn given(&self, flag: &str) -> &'a [Given] {
        match flag {
            "--baseline" => &self.plan.baseline,
            "--sd" => &self.plan.sd,
            "--mde" => &self.plan.mde,
            "--correlation" => &self.plan.correlation,
            "--discordance" => &self.plan.discordance,
            "--events-per-user" => &self.plan.events_per_user,
            "--icc" => &self.plan.icc,
            _ => &[],
        }
    }

    /// The number of a flag: that of the metric before the one of whichever.
    pub(super) fn get(&self, flag: &'static str) -> Option<f64> {
        self.used.borrow_mut().push(flag);
        let given = self.given(flag).iter();
        let own = given
            .clone()
            .rev()
            .find(|of| of.metric.is_some() && of.metric.as_deref() == self.metric);
        let any = given.clone().rev().find(|of| of.metric.is_none());
        own.or(any).map(|of| of.number)
    }

    /// One that is needed, and within bounds.
    pub(super) fn need(
        &self,
        flag: &'static str,
        what: &str,
        is_fit: impl Fn(f64) -> bool,
    ) -> Result<f64, String> {
        let whose = self
            .metric
            .map_or_else(String::new, |name| format!("metric {name}: "));
        let number = self
            .get(flag)
            .ok_or_else(|| format!("{whose}{flag} is missing: {what}"))?;
        let fits = is_fit(number).then_some(number);
        fits.ok_or_else(|| format!("{whose}{flag} is {number}: it must be {what}"))
    }

    /// Those that were given and never asked for.
    pub(super) fn refuse_others(&self) -> Result<(), String> {
        let used = self.used.borrow();
        let mut others = FLAGS.iter().filter(|flag| !used.contains(flag));
        let applies = |flag: &&&str| {
            let mut given = self.given(flag).iter();
            given.any(|of| of.metric.is_none() || of.metric.as_deref() == self.metric)
        };
        match others.find(applies) {
            Some(flag) => Err(format!(
                "{flag} says nothing of what is compared here: leave it out"
            )),
            None => Ok(()),
        }
    }

    /// Names that no metric has, and numbers without a name where there are several metrics.
    pub(super) fn check_names(plan: &Plan, metrics: &[&str]) -> Result<(), String> {
        let all = Numbers::of(plan, None);
        for flag in FLAGS {
            for given in all.given(flag) {
                match &given.metric {
                    Some(name) if !metrics.contains(&name.as_str()) => {
                        return Err(format!(
                            "{flag} names {name}, and what is planned is {}",
                            list(metrics)
                        ));
                    }
                    None if metrics.len() > 1 => {
                        return Err(format!(
                            "{flag} could be of {}: write {flag} METRIC={}",
                            list(metrics),
                            given.number
                        ));
                    }
                    Some(_) | None => {}
                }
            }
        }
        Ok(())
    }
}

fn list(names: &[&str]) -> String {
    if names.is_empty() {
        return "one thing without a name".to_owned();
    }
    names.join(" and ")
}
