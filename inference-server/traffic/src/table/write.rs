//! A table as a document.
//!
//! Invariant: equal tables give equal bytes: members in the order of the type, revisions in that of
//! their roles, nothing that is absent.

use super::document::{
    CalibrationDocument, ConfirmedDocument, CutOffDocument, Document, EvidenceRulesDocument,
    FallbackDocument, KeyDocument, ModelDocument, RevisionDocument, ShadowDocument,
};
use super::{Calibration, CutOff, Place, Row, SCHEMA_VERSION, Table, UserKey, experiment};
use crate::time::whole;

pub(super) fn to_json(table: &Table) -> String {
    // Strings, numbers and lists of them: there is nothing that JSON could not write.
    serde_json::to_string(&document(table)).unwrap_or_default()
}

fn document(table: &Table) -> Document {
    Document {
        schema_version: SCHEMA_VERSION,
        generation: table.generation.0,
        model: ModelDocument {
            namespace: table.model.namespace.clone(),
            name: table.model.name.clone(),
            uid: table.model.uid.clone(),
        },
        rollout: table.rollout.clone(),
        salt: table.salt.clone(),
        revisions: table.revisions.iter().map(revision).collect(),
        key: table.key.as_ref().map(key),
        fallback: FallbackDocument {
            enabled: table.fallback.enabled,
            hedge_after_ms: whole(table.fallback.hedge_after),
            budget_percent: table.fallback.budget_percent,
        },
        cut_off: cut_off(&table.cut_off),
        shadow: table.shadow.map(|shadow| ShadowDocument {
            percent: shadow.percent.into(),
            timeout_ms: shadow.timeout.map(whole),
        }),
        evidence: evidence(&table.slower_than_ms),
        experiment: table.experiment.as_ref().map(experiment::write),
        admin_token_sha256: table
            .admin_token
            .as_ref()
            .map(|hash| hash.as_str().to_owned()),
    }
}

fn revision(row: &Row) -> RevisionDocument {
    let (service, endpoints) = place(&row.place);
    RevisionDocument {
        revision: row.revision.to_string(),
        role: row.role.as_str().to_owned(),
        weight: row.weight.get().into(),
        digest: row.digest.clone(),
        service,
        endpoints,
        calibration: row.calibration.as_ref().map(calibration),
        capacity: row.capacity,
    }
}

pub(super) fn place(place: &Place) -> (Option<String>, Vec<String>) {
    match place {
        Place::Service(name) => (Some(name.clone()), Vec::new()),
        Place::Addresses(addresses) => (None, addresses.clone()),
    }
}

pub(super) fn calibration(calibration: &Calibration) -> CalibrationDocument {
    CalibrationDocument {
        scale: calibration.scale.to_string(),
        shift: calibration.shift.to_string(),
    }
}

pub(super) fn key(key: &UserKey) -> KeyDocument {
    let none = KeyDocument::default();
    match key.clone() {
        UserKey::Header(name) => KeyDocument {
            header: Some(name),
            ..none
        },
        UserKey::JwtClaim(name) => KeyDocument {
            jwt_claim: Some(name),
            ..none
        },
        UserKey::JsonPointer(pointer) => KeyDocument {
            json_pointer: Some(pointer),
            ..none
        },
    }
}

fn evidence(slower_than_ms: &[u32]) -> Option<EvidenceRulesDocument> {
    (!slower_than_ms.is_empty()).then(|| EvidenceRulesDocument {
        slower_than_ms: slower_than_ms
            .iter()
            .map(|millis| (*millis).into())
            .collect(),
    })
}

fn cut_off(rules: &CutOff) -> CutOffDocument {
    CutOffDocument {
        window_ms: whole(rules.window),
        min_requests: u32::try_from(rules.min_requests).unwrap_or(u32::MAX),
        error_rate: rules.error_rate.to_string(),
        non_finite: u32::try_from(rules.non_finite).unwrap_or(u32::MAX),
        constant_scores: rules.constant_scores,
        slow_factor: rules.slow_factor.to_string(),
        alpha: rules.alpha.to_string(),
        confirmed: rules.confirmed.as_ref().map(|confirmed| ConfirmedDocument {
            revision: confirmed.revision.to_string(),
            cause: confirmed.cause.clone(),
        }),
    }
}
