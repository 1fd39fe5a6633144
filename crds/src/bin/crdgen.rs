//! Writes `crds/yaml`. `make generate` calls it.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml");
    std::fs::create_dir_all(&folder)?;
    for definition in crds::all() {
        let name = format!(
            "{}.yaml",
            definition.metadata.name.as_deref().unwrap_or("unnamed")
        );
        std::fs::write(folder.join(name), crds::document(&definition)?)?;
    }
    Ok(())
}
