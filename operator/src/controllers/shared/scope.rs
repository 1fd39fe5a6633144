//! Which namespaces this operator acts in: all, or those that its flag selects by their labels.
//!
//! Owns the watch of namespaces. It must not know what lies in them. Invariants: nothing is done in a namespace that is
//! not known to be selected; a selector of one namespace by its name needs no rights beyond that namespace; whatever
//! enters or leaves is looked at anew.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{bail, ensure};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::watch;

/// The label that every namespace has, and whose value is its name.
const NAME: &str = "kubernetes.io/metadata.name";

/// The namespaces.
#[derive(Clone, Debug)]
pub(crate) enum Scope {
    /// All of them.
    All,
    /// One, whether it is there or not.
    One(String),
    /// Those with labels that match, as they come and go.
    Selected(Arc<Selected>),
}

/// Namespaces whose labels match.
#[derive(Debug)]
pub(crate) struct Selected {
    selector: String,
    /// `None` until all are known.
    names: watch::Sender<Option<BTreeSet<String>>>,
}

impl Scope {
    /// Of a label selector, as kubectl takes one.
    ///
    /// # Errors
    /// When it is empty.
    pub(crate) fn of(selector: &str) -> anyhow::Result<Self> {
        ensure!(
            !selector.trim().is_empty(),
            "an empty selector selects everything: leave it out"
        );
        let selected = || {
            Self::Selected(Arc::new(Selected {
                selector: selector.to_owned(),
                names: watch::Sender::new(None),
            }))
        };
        Ok(only(selector).map_or_else(selected, Self::One))
    }

    /// Where objects of a kind are listed and watched. Those of other namespaces may be among them.
    pub(crate) fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match self {
            Self::All | Self::Selected(_) => Api::all(client.clone()),
            Self::One(name) => Api::namespaced(client.clone(), name),
        }
    }

    /// Whether something is done there.
    pub(crate) fn covers(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::One(name) => name == namespace,
            Self::Selected(selected) => {
                let names = selected.names.borrow();
                names
                    .as_ref()
                    .is_some_and(|names| names.contains(namespace))
            }
        }
    }

    /// Watches the namespaces until the program ends, where that is needed.
    ///
    /// # Errors
    /// When the API server says that this is no selector.
    pub(crate) async fn follow(&self, client: &Client) -> anyhow::Result<()> {
        let Self::Selected(selected) = self else {
            return Ok(());
        };
        let selected = selected.clone();
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
        let one = ListParams::default().labels(&selected.selector).limit(1);
        if let Err(kube::Error::Api(status)) = api.list(&one).await
            && status.code == 400
        {
            bail!("it is no label selector: {}", status.message);
        }
        let config = watcher::Config::default().labels(&selected.selector);
        let mut listed = BTreeSet::new();
        let watching = watcher(api, config)
            .default_backoff()
            .for_each(move |event| {
                match event {
                    Ok(event) => selected.take(event, &mut listed),
                    Err(error) => {
                        tracing::warn!(kind = "Namespace", %error, "a watch is interrupted");
                    }
                }
                std::future::ready(())
            });
        tokio::spawn(watching);
        Ok(())
    }

    /// Waits until it is known which they are.
    pub(crate) async fn fill(&self) {
        if let Self::Selected(selected) = self {
            let mut names = selected.names.subscribe();
            // An error means that the program is ending.
            let _ = names.wait_for(Option::is_some).await;
        }
    }

    /// Each time that a namespace enters or leaves.
    pub(crate) fn changes(&self) -> BoxStream<'static, ()> {
        let Self::Selected(selected) = self else {
            return stream::empty().boxed();
        };
        let names = selected.names.subscribe();
        let changed = |mut names: watch::Receiver<Option<BTreeSet<String>>>| async move {
            names.changed().await.ok()?;
            Some(((), names))
        };
        stream::unfold(names, changed).boxed()
    }
}

impl Selected {
    /// `listed` are those of a list that is not complete yet: until it is, what was known holds.
    fn take<K: Resource>(&self, event: Event<K>, listed: &mut BTreeSet<String>) {
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(namespace) => {
                listed.insert(namespace.name_any());
            }
            Event::InitDone => self.change(|names| {
                let all = Some(std::mem::take(listed));
                let is_new = *names != all;
                *names = all;
                is_new
            }),
            Event::Apply(namespace) => self.change(|names| {
                let names = names.as_mut();
                names.is_some_and(|names| names.insert(namespace.name_any()))
            }),
            Event::Delete(namespace) => self.change(|names| {
                let names = names.as_mut();
                names.is_some_and(|names| names.remove(&namespace.name_any()))
            }),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Option<BTreeSet<String>>) -> bool) {
        self.names.send_if_modified(change);
    }
}

/// The one namespace that a selector can mean.
fn only(text: &str) -> Option<String> {
    let (label, value) = text.split_once('=')?;
    let name = value.strip_prefix('=').unwrap_or(value).trim();
    (label.trim() == NAME && !name.contains(',')).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn namespace(name: &str) -> Namespace {
        serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
    }

    fn selected() -> (Scope, Arc<Selected>) {
        let scope = Scope::of("team=a").unwrap();
        let Scope::Selected(selected) = scope.clone() else {
            panic!("{scope:?}");
        };
        (scope, selected)
    }

    #[test]
    fn a_namespace_by_its_name_is_one() {
        for text in [
            "kubernetes.io/metadata.name=team-a",
            "kubernetes.io/metadata.name==team-a",
            " kubernetes.io/metadata.name = team-a ",
        ] {
            let scope = Scope::of(text).unwrap();
            assert!(
                matches!(&scope, Scope::One(name) if name == "team-a"),
                "{scope:?}"
            );
            assert!(scope.covers("team-a") && !scope.covers("team-b"));
        }
        for text in [
            "team=a",
            "kubernetes.io/metadata.name=team-a,tier=x",
            "kubernetes.io/metadata.name in (team-a, team-b)",
            "kubernetes.io/metadata.name!=team-a",
        ] {
            let scope = Scope::of(text).unwrap();
            assert!(matches!(scope, Scope::Selected(_)), "{text}: {scope:?}");
        }
    }

    #[test]
    fn a_selector_of_everything_is_refused() {
        for text in ["", " "] {
            assert!(Scope::of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_is_covered_before_all_are_known_and_a_list_replaces_what_was() {
        let (scope, selected) = selected();
        let mut listed = BTreeSet::new();
        selected.take::<Namespace>(Event::Init, &mut listed);
        selected.take(Event::InitApply(namespace("a")), &mut listed);
        assert!(!scope.covers("a"));
        selected.take::<Namespace>(Event::InitDone, &mut listed);
        assert!(scope.covers("a") && !scope.covers("b"));
        selected.take(Event::Apply(namespace("b")), &mut listed);
        selected.take(Event::Delete(namespace("a")), &mut listed);
        assert!(scope.covers("b") && !scope.covers("a"));
        selected.take::<Namespace>(Event::Init, &mut listed);
        assert!(
            scope.covers("b"),
            "a list that is being read takes nothing away"
        );
        selected.take::<Namespace>(Event::InitDone, &mut listed);
        assert!(!scope.covers("b"));
    }

    #[tokio::test]
    async fn who_enters_or_leaves_is_heard_of_once() {
        let (scope, selected) = selected();
        let mut changes = scope.changes();
        let mut listed = BTreeSet::new();
        selected.take::<Namespace>(Event::InitDone, &mut listed);
        assert_eq!(changes.next().await, Some(()));
        selected.take(Event::Apply(namespace("a")), &mut listed);
        assert_eq!(changes.next().await, Some(()));
        selected.take(Event::Apply(namespace("a")), &mut listed);
        drop(scope);
        drop(selected);
        assert_eq!(changes.next().await, None);
    }
}
