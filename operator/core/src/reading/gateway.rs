//! What Gateways say of the HTTPRoute.
//!
//! Invariant: only words about the route as it is now count; those about an earlier one are none.

use kube::core::DynamicObject;
use serde_json::Value;

use super::Reading;
use crate::compare;
use crate::objects::http_route;
use crate::observed::GatewayApi;

/// How far a route to the Service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The spec asks for none.
    Unwanted {
        /// Whether one is there still.
        is_there: bool,
    },
    /// The cluster does not know such a thing.
    NoApi,
    /// Not every Gateway has said something yet.
    Waits(String),
    /// A Gateway does not take it, and why.
    Refused(String),
    /// All Gateways lead to it.
    Accepted(String),
}

impl Reading<'_> {
    pub(crate) fn route(&self) -> Route {
        let model = &self.observed.model;
        let mut routes = self.observed.children.routes.iter();
        let live = routes.next();
        let gateway = model.spec.traffic.as_ref();
        let Some(gateway) = gateway.and_then(|traffic| traffic.gateway.as_ref()) else {
            return Route::Unwanted {
                is_there: live.is_some(),
            };
        };
        if self.observed.gateway_api == GatewayApi::Absent {
            return Route::NoApi;
        }
        let wanted = http_route::build(model, gateway);
        let name = wanted.metadata.name.clone().unwrap_or_default();
        let json = |route: &DynamicObject| serde_json::to_value(route).unwrap_or_default();
        let whole = json(&wanted);
        let Some(live) = live.filter(|live| compare::holds(&whole, &json(live))) else {
            return Route::Waits(format!("HTTPRoute {name:?} is going to be written"));
        };
        let generation = live.metadata.generation;
        let parents = gateway.parent_refs.iter();
        let parents: Vec<Value> = parents
            .map(|parent| Value::Object(parent.0.clone()))
            .collect();
        let mut refused = None;
        for parent in &parents {
            let gateway = http_route::parent_name(parent);
            match said(&live.data, parent, generation) {
                Said::Accepted => {}
                Said::Nothing => {
                    return Route::Waits(format!(
                        "Gateway {gateway} has said nothing of HTTPRoute {name:?} as it is now: is it there, and does a controller look after it?"
                    ));
                }
                Said::Refused(why) => {
                    refused.get_or_insert_with(|| {
                        format!("Gateway {gateway} does not accept HTTPRoute {name:?}: {why}")
                    });
                }
            }
        }
        if let Some(why) = refused {
            return Route::Refused(why);
        }
        let all: Vec<String> = parents.iter().map(http_route::parent_name).collect();
        Route::Accepted(format!("accepted by {}", all.join("; ")))
    }
}

enum Said {
    Nothing,
    Accepted,
    Refused(String),
}

/// What any controller says of `parent`, of the route's `generation`.
fn said(route: &Value, parent: &Value, generation: Option<i64>) -> Said {
    let list = route.pointer("/status/parents").and_then(Value::as_array);
    let own = list.into_iter().flatten().filter(|entry| {
        entry
            .get("parentRef")
            .is_some_and(|named| is_same(parent, named))
    });
    let accepted = own
        .filter_map(|entry| entry.get("conditions")?.as_array())
        .flatten()
        .filter(|condition| condition.get("type").and_then(Value::as_str) == Some("Accepted"))
        .filter(|condition| {
            condition.get("observedGeneration").and_then(Value::as_i64) == generation
        });
    let mut outcome = Said::Nothing;
    for condition in accepted {
        let text = |key: &str| {
            condition
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        match text("status") {
            "True" => return Said::Accepted,
            "False" => {
                outcome = Said::Refused(format!("{}: {}", text("reason"), text("message")));
            }
            _ => {}
        }
    }
    outcome
}

/// Whether a controller speaks of the parent that the spec names. It may fill in what was left out.
fn is_same(wanted: &Value, named: &Value) -> bool {
    ["name", "namespace", "sectionName", "port", "kind", "group"]
        .into_iter()
        .all(|key| match wanted.get(key) {
            Some(value) => named.get(key) == Some(value),
            // Without a listener it is of the whole Gateway.
            None => {
                !matches!(key, "sectionName" | "port") || named.get(key).is_none_or(Value::is_null)
            }
        })
}
