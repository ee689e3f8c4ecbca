//! Planted bugs: what the tests must be able to find.
//!
//! With the feature `mutants`, `MEMPOOL_MUTANT` names the one that is switched on; without it the switches
//! are the constant `false`, and the compiler removes them.

/// Whether the planted bug `name` is switched on.
#[cfg(feature = "mutants")]
#[doc(hidden)]
pub fn is_on(name: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("MEMPOOL_MUTANT").ok()).as_deref() == Some(name)
}

/// Whether the planted bug of that name is switched on; `false` without the feature `mutants`.
macro_rules! mutant {
    ($name:literal) => {{
        #[cfg(feature = "mutants")]
        let on = $crate::mutant::is_on($name);
        #[cfg(not(feature = "mutants"))]
        let on = false;
        on
    }};
}
