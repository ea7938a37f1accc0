// SPDX-License-Identifier: GPL-2.0-only
/*
 * The memory type that the region is really mapped with (REQUIREMENTS DEF-6). The kernel gives what
 * it can and not always what was asked for, so the answer comes from the page table entry of the
 * mapping itself and not from the rule that should have led to it.
 *
 * x86 looks at the MTRRs first: what they do not say is write-back is mapped uncached-minus.
 * Firmware leaves the PCI hole below 4 GiB uncached; above it the default type counts. Elsewhere
 * write-back is ordinary cached memory, with nothing to overrule it.
 */
#include <linux/mm.h>
#ifdef CONFIG_X86
#include <asm/memtype.h>
#include <asm/pgtable.h>
#endif

#include "airlock.h"

#ifdef CONFIG_X86
/*
 * The names are those of debugfs/x86/pat_memtype_list. The uncached ones come early: where the PAT
 * has no slot for a type, that type shares their bits.
 */
static const struct {
	enum page_cache_mode mode;
	const char *name;
} cache_modes[] = {
	{_PAGE_CACHE_MODE_WB, AIRLOCK_WRITE_BACK}, {_PAGE_CACHE_MODE_UC_MINUS, "uncached-minus"},
	{_PAGE_CACHE_MODE_UC, "uncached"},	   {_PAGE_CACHE_MODE_WC, "write-combining"},
	{_PAGE_CACHE_MODE_WT, "write-through"},	   {_PAGE_CACHE_MODE_WP, "write-protected"},
};

const char *airlock_memory_type(const void *address)
{
	unsigned long cache_bits;
	unsigned int level, i;
	pgprot_t protection;
	pte_t *entry;

	/* Without a PAT the entry says write-back whatever the MTRRs make of it. */
	if (!pat_enabled())
		return "left to the MTRRs";
	entry = lookup_address((unsigned long)address, &level);
	if (!entry)
		return "unknown";
	protection = __pgprot(pte_flags(*entry));
	if (level != PG_LEVEL_4K)
		protection = pgprot_large_2_4k(protection);
	cache_bits = pgprot_val(protection) & _PAGE_CACHE_MASK;
	for (i = 0; i < ARRAY_SIZE(cache_modes); i++)
		if (cachemode2protval(cache_modes[i].mode) == cache_bits)
			return cache_modes[i].name;
	return "unknown";
}
#else
const char *airlock_memory_type(const void *address)
{
	return AIRLOCK_WRITE_BACK;
}
#endif
