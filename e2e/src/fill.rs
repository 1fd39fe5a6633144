//! Fills a volume with the demo models, and with copies of one that are spoiled in every way that a
//! copy over a network goes wrong.

use std::fs;
use std::path::Path;

use anyhow::Context;

/// Spoils a copy of a model.
type Spoil = fn(&Path) -> anyhow::Result<()>;

/// What a spoiled copy is called after its model's name, and how it is spoiled.
pub const SPOILED: [(&str, Spoil); 9] = [
    ("flipped", |model| {
        change(&model.join(WEIGHTS), |bytes| {
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
        })
    }),
    ("no-config", |model| remove(&model.join(CONFIG))),
    ("torn-config", |model| tear(&model.join(CONFIG))),
    ("no-tokenizer", |model| remove(&model.join(TOKENIZER))),
    ("torn-tokenizer", |model| tear(&model.join(TOKENIZER))),
    ("no-weights", |model| remove(&model.join(WEIGHTS))),
    ("torn-weights", |model| tear(&model.join(WEIGHTS))),
    ("lost-shard", |model| {
        fs::rename(
            model.join(WEIGHTS),
            model.join("model-00001-of-00002.safetensors"),
        )?;
        let index = r#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
        write(
            &model.join("model.safetensors.index.json"),
            index.as_bytes(),
        )
    }),
    ("pickle", |model| {
        fs::rename(model.join(WEIGHTS), model.join("pytorch_model.bin")).map_err(Into::into)
    }),
];

/// What a copy is called that is sound by every check and harms all the same, and how it is made.
pub const HARMFUL: [(&str, Spoil); 1] = [("constant", |model| {
    // The head's weights are the last tensor of the file: without them every text has one score.
    change(&model.join(WEIGHTS), |bytes| {
        let from = bytes.len().saturating_sub(128 * size_of::<f32>());
        bytes.iter_mut().skip(from).for_each(|byte| *byte = 0);
    })
})];

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const WEIGHTS: &str = "model.safetensors";

/// Copies the model folders of `from` to `to`, and makes a copy of the model `spoiled` for each way
/// to spoil it.
///
/// # Errors
/// When a file cannot be read or written.
pub fn run(from: &Path, to: &Path, spoiled: Option<&str>) -> anyhow::Result<()> {
    for model in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let model = model?;
        copy(&model.path(), &to.join(model.file_name()))?;
    }
    let Some(model) = spoiled else { return Ok(()) };
    for (name, spoil) in SPOILED.into_iter().chain(HARMFUL) {
        let folder = to.join(format!("{model}-{name}"));
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        copy(&from.join(model), &folder)?;
        spoil(&folder).with_context(|| folder.display().to_string())?;
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

fn remove(file: &Path) -> anyhow::Result<()> {
    fs::remove_file(file).with_context(|| file.display().to_string())
}

fn change(file: &Path, change: impl FnOnce(&mut Vec<u8>)) -> anyhow::Result<()> {
    let mut bytes = fs::read(file).with_context(|| file.display().to_string())?;
    change(&mut bytes);
    write(file, &bytes)
}

/// The first half, as a copy that was interrupted leaves it.
fn tear(file: &Path) -> anyhow::Result<()> {
    change(file, |bytes| bytes.truncate(bytes.len() / 2))
}
