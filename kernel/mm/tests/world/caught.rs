// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file runs what must not pass.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Returns what a failing run says, `None` if it passes.
pub fn what_is_said(run: impl FnOnce()) -> Option<String> {
    let why = catch_unwind(AssertUnwindSafe(run)).err()?;
    let text = why.downcast_ref::<String>().cloned();
    let text = text.or_else(|| why.downcast_ref::<&str>().map(|text| text.to_string()));
    Some(text.unwrap_or_default())
}
