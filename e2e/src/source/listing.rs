//! Lists of files, in the words of a hub and of S3.

use std::fmt::Write;
use std::path::Path;

use super::COMMIT;

/// The files of a folder and their sizes, by name.
pub(super) fn files(folder: &Path) -> std::io::Result<Vec<(String, u64)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string() {
            files.push((name, entry.metadata()?.len()));
        }
    }
    files.sort();
    Ok(files)
}

pub(super) fn of_hub(files: &[(String, u64)]) -> String {
    let names = files.iter();
    let siblings: Vec<_> = names
        .map(|(name, _)| serde_json::json!({"rfilename": name}))
        .collect();
    serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string()
}

/// The names here need no escaping.
pub(super) fn of_bucket(model: &str, files: &[(String, u64)]) -> String {
    let mut body = "<ListBucketResult><Name>team</Name><IsTruncated>false</IsTruncated>".to_owned();
    for (name, size) in files {
        // Writing to a string cannot fail.
        let _ = write!(
            body,
            "<Contents><Key>{model}/{name}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>\"{size}\"</ETag><Size>{size}</Size></Contents>"
        );
    }
    body + "</ListBucketResult>"
}
