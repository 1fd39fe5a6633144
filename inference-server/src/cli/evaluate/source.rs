//! Where the scores of an evaluation come from: a model's folder, or a server.

use anyhow::{Context, bail, ensure};
use inference_api::Input;
use inference_api::evaluate::Pair;
use inference_engine::text_input;
use inference_models::{EncodeOptions, Model, Packed};

use super::server::Server;
use crate::args::Evaluate;
use crate::cli::{model, progress};

/// Texts that are scored together.
const CHUNK: usize = 128;
/// Scores of the preferred answer and of the other.
type Scores = Vec<(f32, f32)>;

/// Where scores come from.
pub(super) enum Source {
    /// A model that is loaded here.
    Folder { model: Box<Model>, label: usize },
    /// A server.
    Server(Server),
}

impl Source {
    /// The source that `args` name.
    pub(super) fn open(args: &Evaluate) -> anyhow::Result<Self> {
        if let Some(url) = &args.source.url {
            let own = (args.label > 0).then_some("--label");
            if let Some(name) = own.or_else(|| args.options.any()) {
                bail!("{name} is for --model: the server at {url} has its own; remove it");
            }
            return Self::server(url, args);
        }
        let folder = args
            .source
            .model
            .as_ref()
            .context("name a source: --model DIR or --url URL")?;
        let loaded = model::open(folder, &args.options.load(), args.label)?;
        Ok(Self::Folder {
            model: Box::new(loaded),
            label: args.label,
        })
    }

    /// The server at `url`.
    pub(super) fn server(url: &str, args: &Evaluate) -> anyhow::Result<Self> {
        Server::new(url, args.token_file.as_deref()).map(Self::Server)
    }

    /// Raw scores of each pair, and the version that gave them.
    pub(super) fn scores(&self, pairs: &[Pair]) -> anyhow::Result<(Scores, String)> {
        let inputs: Vec<Input> = pairs.iter().flat_map(Pair::inputs).collect();
        let progress = progress::count("evaluating", inputs.len() as u64);
        let (rows, version) = match self {
            Self::Folder { model, label } => {
                let mut rows = Vec::with_capacity(inputs.len());
                for (i, chunk) in inputs.chunks(CHUNK).enumerate() {
                    rows.extend(local(model, *label, chunk, i * CHUNK)?);
                    progress.inc(chunk.len() as u64);
                }
                (rows, model.facts.digest.short().to_owned())
            }
            Self::Server(server) => server.scores(&inputs, &progress)?,
        };
        progress.finish_and_clear();
        ensure!(rows.len() == inputs.len(), "an answer lacks scores");
        let scores = rows.chunks_exact(2).filter_map(|pair| match pair {
            [chosen, rejected] => Some((*chosen, *rejected)),
            _ => None,
        });
        Ok((scores.collect(), version))
    }
}

fn local(model: &Model, label: usize, inputs: &[Input], first: usize) -> anyhow::Result<Vec<f32>> {
    let mut batch = Packed::default();
    for (i, input) in inputs.iter().enumerate() {
        let encoded = model
            .tokenizer
            .encode(&text_input(input.clone()), EncodeOptions::default())
            .with_context(|| format!("pair {}", pair_of(first + i)))?;
        batch.push(&encoded.ids, &encoded.type_ids);
    }
    let logits = model.engine.forward(&batch)?;
    let score = |row: Vec<f32>| row.get(label).copied().unwrap_or(f32::NAN);
    Ok(logits.into_iter().map(score).collect())
}

/// The number of the pair that a text belongs to, from 1.
const fn pair_of(text: usize) -> usize {
    text / 2 + 1
}
