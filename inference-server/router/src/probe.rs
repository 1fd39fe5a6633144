//! Whether endpoints serve, where nobody else says so.
//!
//! Owns the questions to the addresses of a file: once a second, each is asked what it serves. In
//! Kubernetes the kubelet asks, and here only what stable is. Invariant: an endpoint that says that it is another revision gets nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use traffic::table::{Place, Role};

use crate::ask;
use crate::endpoints::{Endpoint, Group};
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
        for (place, group) in view.groups.iter().enumerate() {
            let who = match group.row.place {
                Place::Addresses(_) => group.endpoints.as_slice(),
                // Others say who serves; one of stable's is asked what it is.
                Place::Service(_) if group.row.role == Role::Stable => {
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
                    if let Some(group) = view.groups.get(place) {
                        router.ask_one(group, &endpoint).await;
                    }
                });
            }
        }
        asked.join_all().await;
        for group in &view.groups {
            if group.changed(self.0.clock.now()) {
                self.0.tell();
            }
        }
    }

    async fn ask_one(&self, group: &Group, endpoint: &Arc<Endpoint>) {
        let said = ask::model(endpoint, PATIENCE).await;
        let serves = said.as_ref().is_ok_and(|model| {
            let is_meant = ask::description(model.by.clone(), &group.row).is_some();
            endpoint.is_another.store(!is_meant, Ordering::Relaxed);
            is_meant
        });
        let is_asked_whether = matches!(group.row.place, Place::Addresses(_));
        if is_asked_whether && endpoint.is(serves, serves) {
            let (revision, address) = (&group.row.revision, endpoint.pool.address());
            tracing::info!(target: "router", %revision, endpoint = address, serves, "looked at");
        }
        if let Ok(model) = said
            && serves
            && group.row.role == Role::Stable
        {
            let mut model = model;
            model.by.revision = Some(group.row.revision.to_string());
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
