//! The secret that the tokens of the routers' admin ports are made of: one for each installation.
//!
//! Invariant: it is made once and never changed by us, so that a second operator has the same.

use anyhow::{Context, bail};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use operator_core::identity::AdminKey;

/// Its Secret, in the operator's own namespace.
const NAME: &str = "betterai-admin-key";
const FIELD: &str = "key";

/// Reads the key of `namespace`, or makes it.
///
/// # Errors
/// When it cannot be read or made; it says what to do.
pub(crate) async fn of(client: &Client, namespace: &str) -> anyhow::Result<AdminKey> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let doing = || format!("Secret {namespace}/{NAME}, which the routers' tokens are made of");
    // Another replica may make it at the same time: then its key counts.
    for _ in 0..3 {
        if let Some(secret) = secrets.get_opt(NAME).await.with_context(doing)? {
            let bytes = secret.data.and_then(|mut data| data.remove(FIELD));
            let key = bytes.and_then(|bytes| AdminKey::new(bytes.0));
            return key.with_context(|| {
                format!(
                    "Secret {namespace}/{NAME} has no {FIELD:?} of at least {} bytes: delete it to have it made anew",
                    AdminKey::LEAST
                )
            });
        }
        let mut bytes = vec![0; AdminKey::LEAST];
        getrandom::fill(&mut bytes).context("no random bytes")?;
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                ..ObjectMeta::default()
            },
            data: Some([(FIELD.to_owned(), ByteString(bytes))].into()),
            ..Secret::default()
        };
        match secrets.create(&PostParams::default(), &secret).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => return Err(error).with_context(doing),
        }
    }
    bail!("Secret {namespace}/{NAME} comes and goes")
}
