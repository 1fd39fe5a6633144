//! What a router may read: its own table by name, and endpoints.

use crds::RewardModel;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use kube::ResourceExt;

use super::own;
use crate::identity::names;

/// Its account.
pub fn account(model: &RewardModel) -> ServiceAccount {
    ServiceAccount {
        metadata: own(model, names::router(&model.name_any())),
        ..ServiceAccount::default()
    }
}

/// Its rights.
pub fn role(model: &RewardModel) -> Role {
    let verbs = ["get", "list", "watch"].map(str::to_owned).to_vec();
    let table = PolicyRule {
        api_groups: Some(vec![String::new()]),
        resources: Some(vec!["configmaps".to_owned()]),
        resource_names: Some(vec![names::table(&model.name_any())]),
        verbs: verbs.clone(),
        ..PolicyRule::default()
    };
    let endpoints = PolicyRule {
        api_groups: Some(vec!["discovery.k8s.io".to_owned()]),
        resources: Some(vec!["endpointslices".to_owned()]),
        verbs,
        ..PolicyRule::default()
    };
    Role {
        metadata: own(model, names::router(&model.name_any())),
        rules: Some(vec![table, endpoints]),
    }
}

/// Who has them.
pub fn binding(model: &RewardModel) -> RoleBinding {
    let name = names::router(&model.name_any());
    RoleBinding {
        metadata: own(model, name.clone()),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "Role".to_owned(),
            name: name.clone(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name,
            namespace: model.namespace(),
            ..Subject::default()
        }]),
    }
}
