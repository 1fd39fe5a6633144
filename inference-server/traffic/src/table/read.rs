//! A document as a table, or why it is refused.
//!
//! Invariant: a document of another schema is refused as such, whatever its members are.

use std::time::Duration;

use serde::Deserialize;

use super::document::{
    CalibrationDocument, CutOffDocument, Document, EvidenceRulesDocument, FallbackDocument,
    KeyDocument, RevisionDocument, ShadowDocument,
};
use super::{
    Calibration, Confirmed, CutOff, Fallback, Generation, MAX_BYTES, Model, Place, Refusal, Role,
    Row, SCHEMA_VERSION, Shadow, Table, TokenHash, UserKey, experiment, is_hex,
};
use crate::evidence::MAX_THRESHOLDS;
use crate::{Decimal, Revision, WHOLE, Weight};

/// Times that a table may name.
const MILLISECONDS: std::ops::RangeInclusive<u64> = 1..=600_000;

/// What is read first.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Schema {
    schema_version: u32,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Table, Refusal> {
    if bytes.len() > MAX_BYTES {
        return Err(Refusal::TooLong { bytes: bytes.len() });
    }
    let shape = |error: serde_json::Error| Refusal::Shape {
        detail: error.to_string(),
    };
    let schema: Schema = serde_json::from_slice(bytes).map_err(shape)?;
    if schema.schema_version != SCHEMA_VERSION {
        return Err(Refusal::Schema {
            found: schema.schema_version,
        });
    }
    table(serde_json::from_slice(bytes).map_err(shape)?)
}

fn table(document: Document) -> Result<Table, Refusal> {
    let salt = document.salt;
    require(
        !salt.is_empty() && !salt.contains('\0'),
        "salt",
        "a text without a zero byte",
    )?;
    let model = document.model;
    for (member, value) in [
        ("model.namespace", &model.namespace),
        ("model.name", &model.name),
        ("model.uid", &model.uid),
    ] {
        require(
            !value.is_empty(),
            member,
            "what the resource's metadata says",
        )?;
    }
    let token = document.admin_token_sha256.as_deref();
    Ok(Table {
        generation: Generation(document.generation),
        model: Model {
            namespace: model.namespace,
            name: model.name,
            uid: model.uid,
        },
        rollout: document.rollout,
        salt,
        revisions: revisions(document.revisions)?,
        key: document.key.map(key).transpose()?,
        fallback: fallback(&document.fallback)?,
        cut_off: cut_off(document.cut_off)?,
        shadow: document.shadow.map(shadow).transpose()?,
        slower_than_ms: slower_than(document.evidence.unwrap_or_default())?,
        experiment: document.experiment.map(experiment::read).transpose()?,
        admin_token: token
            .map(|text| {
                value(
                    TokenHash::parse(text),
                    "adminTokenSha256",
                    "64 lower-case hex digits",
                )
            })
            .transpose()?,
    })
}

fn revisions(documents: Vec<RevisionDocument>) -> Result<Vec<Row>, Refusal> {
    require(!documents.is_empty(), "revisions", "at least one")?;
    let sum = documents
        .iter()
        .fold(0_i64, |sum, document| sum.saturating_add(document.weight));
    let rows: Result<Vec<_>, _> = documents.into_iter().map(row).collect();
    let mut rows = rows?;
    if sum != i64::from(WHOLE) {
        return Err(Refusal::Sum { sum });
    }
    rows.sort_by_key(|row| row.role);
    for (index, one) in rows.iter().enumerate() {
        for other in rows.iter().skip(index + 1) {
            let what = if one.role == other.role {
                format!("role {}", one.role.as_str())
            } else if one.revision == other.revision {
                format!("revision {}", one.revision)
            } else {
                continue;
            };
            return Err(Refusal::Twice { what });
        }
    }
    Ok(rows)
}

fn row(document: RevisionDocument) -> Result<Row, Refusal> {
    let named = |member: &str| format!("revisions[{}].{member}", document.revision);
    let revision = value(
        Revision::parse(&document.revision),
        named("revision"),
        "1 to 63 lower-case letters, digits, dots and dashes",
    )?;
    let role = Role::ALL
        .into_iter()
        .find(|role| role.as_str() == document.role);
    let role = role.ok_or_else(|| Refusal::Role {
        revision: document.revision.clone(),
        role: document.role.clone(),
    })?;
    let weight = u16::try_from(document.weight).ok().and_then(Weight::new);
    let weight = value(
        weight,
        named("weight"),
        "hundredths of a percent, 0 to 10000",
    )?;
    digest(document.digest.as_deref(), &named)?;
    capacity(document.capacity, &named)?;
    let place = place(document.service.as_deref(), &document.endpoints, &named)?;
    let calibration = document.calibration.as_ref();
    Ok(Row {
        revision,
        role,
        weight,
        place,
        calibration: calibration
            .map(|calibration| self::calibration(calibration, &named))
            .transpose()?,
        capacity: document.capacity,
        digest: document.digest.clone(),
    })
}

pub(super) fn digest(digest: Option<&str>, named: &dyn Fn(&str) -> String) -> Result<(), Refusal> {
    let hex = digest.is_none_or(|text| {
        text.strip_prefix("sha256:")
            .is_some_and(|digits| is_hex(digits, 64))
    });
    require(hex, named("digest"), "sha256: and 64 lower-case hex digits")
}

pub(super) fn capacity(
    capacity: Option<u32>,
    named: &dyn Fn(&str) -> String,
) -> Result<(), Refusal> {
    require(
        capacity != Some(0),
        named("capacity"),
        "at least 1, or leave it out",
    )
}

pub(super) fn place(
    service: Option<&str>,
    endpoints: &[String],
    named: &dyn Fn(&str) -> String,
) -> Result<Place, Refusal> {
    match service {
        Some("") => require(false, named("service"), "the name of a Service")?,
        Some(_) => require(
            endpoints.is_empty(),
            named("endpoints"),
            "either service or endpoints",
        )?,
        None => require(
            !endpoints.is_empty(),
            named("endpoints"),
            "at least one HOST:PORT, or name a service",
        )?,
    }
    for endpoint in endpoints {
        require(
            is_address(endpoint),
            named("endpoints"),
            "HOST:PORT, without http://",
        )?;
    }
    Ok(service.map_or_else(
        || Place::Addresses(endpoints.to_vec()),
        |name| Place::Service(name.to_owned()),
    ))
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'-';
    let host_is_one = bare.map_or_else(
        || !host.is_empty() && host.bytes().all(plain),
        |v6| v6.parse::<std::net::Ipv6Addr>().is_ok(),
    );
    host_is_one && port.parse::<u16>().is_ok_and(|port| port != 0)
}

pub(super) fn calibration(
    document: &CalibrationDocument,
    named: &dyn Fn(&str) -> String,
) -> Result<Calibration, Refusal> {
    let scale = Decimal::parse(&document.scale).filter(|scale| scale.get() > 0.0);
    Ok(Calibration {
        scale: value(
            scale,
            named("calibration.scale"),
            "a decimal number above 0",
        )?,
        shift: value(
            Decimal::parse(&document.shift),
            named("calibration.shift"),
            "a decimal number",
        )?,
    })
}

pub(super) fn key(document: KeyDocument) -> Result<UserKey, Refusal> {
    let KeyDocument {
        header,
        jwt_claim,
        json_pointer,
    } = document;
    let pointer_is_one = json_pointer.as_deref().is_none_or(|p| p.starts_with('/'));
    require(
        pointer_is_one,
        "key.jsonPointer",
        "a JSON pointer, such as /user",
    )?;
    let given: Vec<UserKey> = [
        header.map(UserKey::Header),
        jwt_claim.map(UserKey::JwtClaim),
        json_pointer.map(UserKey::JsonPointer),
    ]
    .into_iter()
    .flatten()
    .collect();
    let one: Result<[UserKey; 1], _> = given.try_into();
    let [key] = one.map_err(|_| Refusal::Value {
        member: "key".to_owned(),
        want: "exactly one of header, jwtClaim and jsonPointer",
    })?;
    let named = match &key {
        UserKey::Header(text) | UserKey::JwtClaim(text) | UserKey::JsonPointer(text) => text,
    };
    require(!named.is_empty(), "key", "the name of a header or a claim")?;
    Ok(key)
}

fn fallback(document: &FallbackDocument) -> Result<Fallback, Refusal> {
    require(
        document.budget_percent <= 100,
        "fallback.budgetPercent",
        "0 to 100",
    )?;
    Ok(Fallback {
        enabled: document.enabled,
        hedge_after: Duration::from_millis(document.hedge_after_ms),
        budget_percent: document.budget_percent,
    })
}

fn shadow(document: ShadowDocument) -> Result<Shadow, Refusal> {
    let percent = u8::try_from(document.percent).ok();
    let percent = percent.filter(|percent| (1..=100).contains(percent));
    let is_time = |millis: u64| MILLISECONDS.contains(&millis);
    require(
        document.timeout_ms.is_none_or(is_time),
        "shadow.timeoutMs",
        "1 to 600000, or leave it out",
    )?;
    Ok(Shadow {
        percent: value(
            percent,
            "shadow.percent",
            "a whole number of percent, 1 to 100, or leave shadow out",
        )?,
        timeout: document.timeout_ms.map(Duration::from_millis),
    })
}

fn slower_than(document: EvidenceRulesDocument) -> Result<Vec<u32>, Refusal> {
    let member = "evidence.slowerThanMs";
    let one = |millis: i64| {
        let whole = u64::try_from(millis).ok();
        let whole = whole.filter(|millis| MILLISECONDS.contains(millis));
        let whole = whole.and_then(|millis| u32::try_from(millis).ok());
        value(whole, member, "milliseconds, 1 to 600000 each")
    };
    let thresholds: Result<Vec<_>, _> = document.slower_than_ms.into_iter().map(one).collect();
    let mut thresholds = thresholds?;
    thresholds.sort_unstable();
    thresholds.dedup();
    require(
        thresholds.len() <= MAX_THRESHOLDS,
        member,
        "at most four thresholds",
    )?;
    Ok(thresholds)
}

fn cut_off(document: CutOffDocument) -> Result<CutOff, Refusal> {
    let decimal = |text: &str, member: &str, fits: &dyn Fn(f64) -> bool, want| {
        let decimal = Decimal::parse(text).filter(|decimal| fits(decimal.get()));
        value(decimal, format!("cutOff.{member}"), want)
    };
    let windows = (100..=600_000).contains(&document.window_ms);
    require(windows, "cutOff.windowMs", "100 to 600000")?;
    let counts = document.min_requests > 0 && document.non_finite > 0;
    require(
        counts,
        "cutOff.minRequests and cutOff.nonFinite",
        "at least 1",
    )?;
    let confirmed = document.confirmed.map(|confirmed| {
        let revision = value(
            Revision::parse(&confirmed.revision),
            "cutOff.confirmed.revision",
            "the revision that is cut off",
        )?;
        Ok(Confirmed {
            revision,
            cause: confirmed.cause,
        })
    });
    Ok(CutOff {
        window: Duration::from_millis(document.window_ms),
        min_requests: document.min_requests.into(),
        error_rate: decimal(
            &document.error_rate,
            "errorRate",
            &|rate| rate > 0.0 && rate <= 1.0,
            "a decimal number above 0, at most 1",
        )?,
        non_finite: document.non_finite.into(),
        constant_scores: document.constant_scores,
        slow_factor: decimal(
            &document.slow_factor,
            "slowFactor",
            &|factor| factor >= 1.0,
            "a decimal number, at least 1",
        )?,
        alpha: decimal(
            &document.alpha,
            "alpha",
            &|alpha| alpha > 0.0 && alpha < 1.0,
            "a decimal number above 0, below 1",
        )?,
        confirmed: confirmed.transpose()?,
    })
}

pub(super) fn require(
    holds: bool,
    member: impl Into<String>,
    want: &'static str,
) -> Result<(), Refusal> {
    value(holds.then_some(()), member, want)
}

pub(super) fn value<T>(
    value: Option<T>,
    member: impl Into<String>,
    want: &'static str,
) -> Result<T, Refusal> {
    value.ok_or_else(|| Refusal::Value {
        member: member.into(),
        want,
    })
}
