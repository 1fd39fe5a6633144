//! Fills a volume with the demo models, and one copy with a flipped byte.

use std::fs;
use std::path::Path;

use anyhow::Context;

/// Copies the model folders of `from` to `to`. `flipped` names a model and the folder for a copy of
/// it with one byte of its weights flipped.
///
/// # Errors
/// When a file cannot be read or written.
pub fn run(from: &Path, to: &Path, flipped: Option<(&str, &str)>) -> anyhow::Result<()> {
    for model in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let model = model?;
        copy(&model.path(), &to.join(model.file_name()))?;
    }
    if let Some((model, name)) = flipped {
        let folder = to.join(name);
        copy(&from.join(model), &folder)?;
        let weights = folder.join("model.safetensors");
        let mut bytes = fs::read(&weights)?;
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        write(&weights, &bytes)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    for file in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let file = file?;
        write(&to.join(file.file_name()), &fs::read(file.path())?)?;
    }
    Ok(())
}

/// A reader never sees half a file.
fn write(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let part = file.with_extension("part");
    fs::write(&part, bytes).with_context(|| part.display().to_string())?;
    fs::rename(&part, file).with_context(|| file.display().to_string())
}
