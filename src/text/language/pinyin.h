// Chinese in Latin letters.
#pragma once

#include <span>

namespace grpo {

/// Whether `word`, small letters and apostrophes, is made of the syllables of Hanyu Pinyin alone, with tone marks or
/// without: "xianzai", "xi'an", "kǎolǜ", "kaolv". So are many English words, "change" and "take", but few in a row.
bool is_pinyin(std::span<const char32_t> word);

}  // namespace grpo
