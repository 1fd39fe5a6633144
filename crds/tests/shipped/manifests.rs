//! Every manifest is reached by a kustomization, or is a sample or a policy to be applied by itself.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::{documents, files, read, words};

/// `a/b/../c` as `a/c`.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            out.pop();
        } else {
            out.push(part);
        }
    }
    out
}

/// What Argo CD reads by its own layout, and samples of it: `make gitops` holds them against its code.
fn is_argo_cds(file: &str) -> bool {
    let argocd = "manifests/components/argocd";
    ["resource_customizations", "samples"]
        .iter()
        .any(|folder| file.starts_with(&format!("{argocd}/{folder}/")))
}

#[test]
fn every_kustomization_names_what_is_there_and_no_file_is_forgotten() {
    let mut named = BTreeSet::new();
    for file in files("manifests", "kustomization.yaml") {
        let folder = Path::new(&file).parent().unwrap();
        let document = documents(&read(&file)).remove(0);
        for list in ["resources", "components"] {
            for entry in words(&document[list]) {
                let path = normal(&folder.join(entry));
                let there = super::repository().join(&path);
                assert!(there.exists(), "{file} names {entry}, which is not there");
                named.insert(path.display().to_string());
            }
        }
        for patch in document["patches"].as_array().into_iter().flatten() {
            if let Some(entry) = patch["path"].as_str() {
                let path = normal(&folder.join(entry));
                named.insert(path.display().to_string());
            }
        }
        let generators = document["configMapGenerator"].as_array();
        for generator in generators.into_iter().flatten() {
            for entry in words(&generator["files"]) {
                let path = normal(&folder.join(entry));
                named.insert(path.display().to_string());
            }
        }
    }
    for folder in [
        "manifests/base",
        "manifests/components",
        "manifests/overlays",
    ] {
        for file in files(folder, "") {
            let is_of_itself = file.ends_with("kustomization.yaml")
                || file.ends_with("rules-test.yaml")
                || is_argo_cds(&file);
            assert!(
                is_of_itself || named.contains(&file),
                "no kustomization names {file}"
            );
        }
    }
}

#[test]
fn what_is_namespaced_names_its_namespace_or_the_base_gives_it() {
    const WITHOUT: [&str; 6] = [
        "Namespace",
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ];
    for file in files("manifests/components", ".yaml") {
        // A patch goes where its target is.
        let is_patch = file.ends_with("argocd/argocd-cm.yaml");
        if file.ends_with("kustomization.yaml")
            || file.ends_with("rules-test.yaml")
            || is_patch
            || is_argo_cds(&file)
        {
            continue;
        }
        for document in documents(&read(&file)) {
            let kind = document["kind"].as_str().unwrap();
            let has = document.pointer("/metadata/namespace").is_some();
            assert!(
                has != WITHOUT.contains(&kind),
                "{file}: {kind} would land in the namespace of whoever applies it"
            );
        }
    }
}

/// The levels of the standard `restricted` that a pod template can break.
#[test]
fn the_operators_pods_pass_the_restricted_level() {
    let deployment = documents(&read("manifests/base/deployment.yaml")).remove(0);
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    for container in pod["containers"].as_array().unwrap() {
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert_eq!(words(&context["capabilities"]["drop"]), ["ALL"]);
        assert!(container["resources"]["limits"]["memory"].is_string());
    }
}
