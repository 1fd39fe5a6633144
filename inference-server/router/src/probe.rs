//! Whether endpoints serve, where nobody else says so.
//!
//! Owns the questions to the addresses of a file: once a second, each is asked what it serves. In
//! Kubernetes the kubelet asks, and here only what stable is. Invariant: an endpoint that says that it is another revision gets nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use inference_scoring::wire;
use traffic::table::{Place, Role};

use crate::ask;
use crate::endpoints::{Endpoint, Group};
use crate::experiment::Trial;
use crate::router::{Router, View};

/// How often each is asked.
const EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether the table is another one.
const LOOK: Duration = Duration::from_millis(50);
/// How long an endpoint may take.
const PATIENCE: Duration = Duration::from_secs(1);

impl Router {
    /// Asks the addresses of the table, for ever.
    pub async fn probe(self) {
        loop {
            let Some(view) = self.0.view.load_full() else {
                tokio::time::sleep(LOOK).await;
                continue;
            };
            self.round(&view).await;
            self.is_synced();
            self.0.tell();
            let mut waited = Duration::ZERO;
            while waited < EVERY && self.is_current(&view) {
                tokio::time::sleep(LOOK).await;
                waited += LOOK;
            }
        }
    }

    fn is_current(&self, view: &Arc<View>) -> bool {
        let current = self.0.view.load();
        current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, view))
    }

    async fn round(&self, view: &Arc<View>) {
        let mut asked = tokio::task::JoinSet::new();
        let trial = view.trial.iter().flat_map(Trial::groups);
        for (place, group) in view.groups.iter().chain(trial).enumerate() {
            let who = match group.target.place {
                Place::Addresses(_) => group.endpoints.as_slice(),
                // Others say who serves; one of stable's is asked what it is.
                Place::Service(_) if group.role == Some(Role::Stable) => {
                    let ready = |e: &Arc<Endpoint>| e.ready.load(Ordering::Relaxed);
                    let place = group.endpoints.iter().position(ready);
                    place.map_or(&[][..], |place| {
                        group.endpoints.get(place..=place).unwrap_or_default()
                    })
                }
                Place::Service(_) => &[],
            };
            for endpoint in who {
                let (view, endpoint) = (view.clone(), endpoint.clone());
                let router = self.clone();
                asked.spawn(async move {
                    let trial = view.trial.iter().flat_map(Trial::groups);
                    let mut groups = view.groups.iter().chain(trial);
                    if let Some(group) = groups.nth(place) {
                        router.ask_one(group, &endpoint).await;
                    }
                });
            }
        }
        asked.join_all().await;
        let trial = view.trial.iter().flat_map(Trial::groups);
        for group in view.groups.iter().chain(trial) {
            if group.changed(self.0.clock.now()) {
                self.0.tell();
            }
        }
    }

    async fn ask_one(&self, group: &Group, endpoint: &Arc<Endpoint>) {
        let said = ask::model(endpoint, PATIENCE).await;
        // As its answers are described: with what the table says of it.
        let described = said.as_ref().ok().map(|model| {
            let described = ask::description(model.by.clone(), &group.target);
            let is_another = described.is_none();
            endpoint.is_another.store(is_another, Ordering::Relaxed);
            described
        });
        let described = described.flatten();
        let serves = described.is_some();
        let is_asked_whether = matches!(group.target.place, Place::Addresses(_));
        if is_asked_whether && endpoint.is(serves, serves) {
            let (revision, address) = (&group.target.revision, endpoint.pool.address());
            tracing::info!(target: "router", %revision, endpoint = address, serves, "looked at");
            // Who waits for another answer does not wait for it.
            group.changed(self.0.clock.now());
        }
        if let (Ok(mut model), Some(described), Some(Role::Stable)) = (said, described, group.role)
        {
            model.by = wire::by(&described);
            self.0.model.send_if_modified(|known| {
                let other = known.as_ref() != Some(&model);
                if other {
                    *known = Some(model);
                }
                other
            });
        }
    }
}
