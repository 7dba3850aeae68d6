//! Where every image source ends: decoded pictures of one size, gathered under the memory limit.

use std::thread;

use sedge_augment::{ImageSource, Size, resize_center};
use sedge_readings::Frame;

use super::dataset::{Dataset, Labels};
use super::samples::Samples;
use super::skipped::SkipList;
use super::{DataError, LoadOptions};

/// Most classes: names are kept for each up to the highest.
pub(super) const MAX_CLASSES: u32 = 100_000;

/// Pictures that are no frames of one sequence are ordered two to the power of this apart.
pub(super) const APART: u32 = 32;

/// A decoded picture at its final size.
pub(super) struct Picture {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Picture {
    /// From RGB bytes, of which there are three a pixel.
    pub(super) fn new(width: usize, height: usize, rgb: Vec<u8>) -> Self {
        Self { width, height, rgb }
    }

    /// Memory of the pixels.
    pub(super) fn bytes(&self) -> usize {
        self.rgb.len()
    }

    /// The frame at `side` x `side` pixels, or as it is.
    pub(super) fn fit(frame: &Frame, side: Option<usize>) -> Result<Self, DataError> {
        let (width, height) = (frame.width() as usize, frame.height() as usize);
        let as_it_is = || Self { width, height, rgb: frame.rgb().to_vec() };
        let Some(side) = side else { return Ok(as_it_is()) };
        if (width, height) == (side, side) {
            return Ok(as_it_is());
        }
        let plane = side * side;
        let mut planes = vec![0.0f32; 3 * plane];
        let source = ImageSource::new(frame.rgb(), width, height)?;
        resize_center(&source, Size { width: side, height: side }, &mut planes)?;
        // Values lie within 0..1 but for rounding, and the cast saturates.
        let byte = |i: usize| (planes[i] * 255.0 + 0.5) as u8;
        let rgb = (0..plane).flat_map(|i| [byte(i), byte(plane + i), byte(2 * plane + i)]).collect();
        Ok(Self { width: side, height: side, rgb })
    }
}

/// What a picture is and where it came from.
#[derive(Clone, Copy)]
pub(super) struct Tag {
    pub(super) label: Option<u32>,
    pub(super) group: u32,
    pub(super) order: u64,
}

/// Gathers pictures of one size.
pub(super) struct ImageSink<'a> {
    source_name: &'a str,
    options: &'a LoadOptions,
    size: Option<(usize, usize)>,
    pixels: Vec<u8>,
    ids: Vec<Option<u32>>,
    groups: Vec<u32>,
    order: Vec<u64>,
    skipped: SkipList,
}

impl<'a> ImageSink<'a> {
    pub(super) fn new(source_name: &'a str, options: &'a LoadOptions) -> Self {
        Self {
            source_name,
            options,
            size: None,
            pixels: Vec::new(),
            ids: Vec::new(),
            groups: Vec::new(),
            order: Vec::new(),
            skipped: SkipList::default(),
        }
    }

    /// Pictures so far.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether as many samples are here as were asked for.
    pub(super) fn is_full(&self) -> bool {
        self.options.limit.is_some_and(|limit| self.len() >= limit)
    }

    pub(super) fn push(&mut self, picture: Picture, tag: Tag) -> Result<(), DataError> {
        let Picture { width, height, rgb } = picture;
        let (w, h) = *self.size.get_or_insert((width, height));
        if (w, h) != (width, height) {
            return Err(DataError::Mixed {
                source_name: self.source_name.to_owned(),
                what: format!("image {}", self.len() + 1),
                found: format!("{width}x{height}"),
                wanted: format!("{w}x{h}"),
                mend: "set `image_size` to bring all to one size",
            });
        }
        self.refuse_beyond(self.len() as u64 + 1, (rgb.len() as u64).max(1))?;
        self.pixels.extend_from_slice(&rgb);
        self.ids.push(tag.label);
        self.groups.push(tag.group);
        self.order.push(tag.order);
        Ok(())
    }

    /// Refuses `samples` of `each` bytes when they are more than may be held.
    fn refuse_beyond(&self, samples: u64, each: u64) -> Result<(), DataError> {
        let (bytes, limit) = (samples.saturating_mul(each), self.options.max_bytes);
        let source_name = || self.source_name.to_owned();
        if bytes <= limit {
            return Ok(());
        }
        Err(DataError::TooLarge { source_name: source_name(), samples, bytes, limit })
    }

    /// Once the size of one picture is known: refuses `expected` of them at once, rather than after
    /// minutes of decoding.
    pub(super) fn expect(&self, expected: u64) -> Result<(), DataError> {
        let wanted = self.options.limit.map_or(expected, |limit| expected.min(limit as u64));
        self.size.map_or(Ok(()), |(w, h)| self.refuse_beyond(wanted, 3 * w as u64 * h as u64))
    }

    /// The first picture passed over, as text.
    pub(super) fn first_skip(&self) -> Option<String> {
        self.skipped.first()
    }

    pub(super) fn skip(&mut self, what: String, why: impl ToString) -> Result<(), DataError> {
        self.skipped.add(self.source_name, self.options.max_skipped, what, why)
    }

    /// The data set; `names` are the classes, where the source names them.
    pub(super) fn finish(self, names: Vec<String>) -> Result<Dataset, DataError> {
        let Some((width, height)) = self.size else {
            let first = self.skipped.first();
            return Err(DataError::Empty {
                source_name: self.source_name.to_owned(),
                what: "image".to_owned(),
                first,
            });
        };
        let labels = labels_of(self.source_name, &self.ids, names);
        let samples = Samples::Images { width, height, pixels: self.pixels };
        let mut data = Dataset::new(samples, labels, self.groups, self.order)?;
        data.skipped = self.skipped;
        Ok(data)
    }
}

/// The labels, when every sample has one; classes without a name are called by their number.
pub(super) fn labels_of(source_name: &str, ids: &[Option<u32>], names: Vec<String>) -> Option<Labels> {
    let known: Vec<u32> = ids.iter().copied().flatten().collect();
    if known.len() != ids.len() || known.is_empty() {
        if !known.is_empty() {
            let without = ids.len() - known.len();
            tracing::warn!("{source_name}: {without} of {} samples have no label; all go without", ids.len());
        }
        return None;
    }
    let classes = known.iter().max().map_or(0, |id| id.saturating_add(1));
    let enough = names.len() >= classes as usize;
    let names = if enough { names } else { (0..classes).map(|id| id.to_string()).collect() };
    Some(Labels { ids: known, names })
}

/// `work` on every item, in order, on up to `workers` threads.
pub(super) fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    workers: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Result<Vec<R>, DataError> {
    let share = items.len().div_ceil(workers.max(1)).max(1);
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = items
            .chunks(share)
            .map(|part| scope.spawn(move || part.iter().map(work).collect::<Vec<R>>()))
            .collect();
        let mut results = Vec::with_capacity(items.len());
        for thread in threads {
            // Decoders meet strangers' bytes: should one panic, that is an error and not an abort.
            let part = thread.join().map_err(|_| DataError::Worker {
                what: "died while it decoded an image; the file is broken in a way not foreseen".to_owned(),
            })?;
            results.extend(part);
        }
        Ok(results)
    })
}
