//! Who has what a new revision waits for.

use kube::ResourceExt;

use super::Reading;
use crate::objects::pod;
use crate::observed::Holder;

impl Reading<'_> {
    /// GPUs that a pod of the spec asks for.
    pub(crate) fn gpus(&self) -> i64 {
        let server = self.observed.model.spec.server.as_ref();
        pod::gpus(server.and_then(|server| server.resources.as_ref()))
    }

    /// Who holds the GPUs that pods wait for, in words: pods of this namespace by name, those of others
    /// only by number.
    pub(crate) fn holders(&self) -> Option<String> {
        let holders = self.observed.holders.as_deref()?;
        let namespace = self.observed.model.namespace().unwrap_or_default();
        let (own, others): (Vec<&Holder>, Vec<&Holder>) = holders
            .iter()
            .partition(|holder| holder.namespace == namespace);
        let mut words: Vec<String> = own
            .iter()
            .take(3)
            .map(|holder| format!("{} ({})", holder.name, holder.gpus))
            .collect();
        let rest: i64 = own.iter().skip(3).map(|holder| holder.gpus).sum();
        let elsewhere: i64 = others.iter().map(|holder| holder.gpus).sum();
        words.extend((rest > 0).then(|| format!("more pods of this namespace ({rest})")));
        words.extend((elsewhere > 0).then(|| format!("pods of other namespaces ({elsewhere})")));
        (!words.is_empty()).then(|| format!("GPUs are held by {}", words.join(", ")))
    }
}
