"""What the SQL interface lets through, by the engine's own names; what is not in these lists is refused."""

from typing import Final


def names(text: str, separator: str | None = None) -> frozenset[str]:
    """The words of a text, or what stands between its separators."""
    return frozenset(" ".join(name.split()) for name in text.split(separator))


NODES: Final = names("""
    ArrayJoin Asterisk ColumnsApplyTransformer ColumnsExceptTransformer ColumnsListMatcher ColumnsRegexpMatcher
    ColumnsReplaceTransformer ColumnsReplaceTransformerReplacement ColumnsTransformerList ExplainQuery ExpressionList
    Function Identifier InterpolateElement Literal OrderByElement QualifiedAsterisk QualifiedColumnsListMatcher
    QualifiedColumnsRegexpMatcher QueryParameter SampleRatio SelectIntersectExceptQuery SelectQuery SelectWithUnionQuery
    Subquery TableExpression TableIdentifier TableJoin TablesInSelectQuery TablesInSelectQueryElement
    WindowDefinition WindowListElement WithElement
""")
"""Nodes of a syntax tree."""

ROOTS: Final = names("SelectWithUnionQuery ExplainQuery")
"""Those that may be a whole query."""

TABLE_FUNCTIONS: Final = names("""
    generaterandom generateseries generate_series null numbers numbers_mt sqlstandardvalues values view viewexplain
    zeros zeros_mt
""")
"""In lower case; all others read files, the network or the process."""

CATEGORIES: Final = names(
    """
    Aggregate Functions | Arithmetic | Arrays | Bit | Bitmap | Comparison | Conditional | Dates and Times | Distance |
    Encoding | Encryption | Financial | Geo | Geo Polygon | Hash | IP Address | JSON | Logical | Map | Mathematical |
    Null | NumericIndexedVector | QBit | Random Number | Rounding | String | String Replacement | String Search |
    String Splitting | Time Series | Time Window | Tuple | Type Conversion | URL | UUID
    """,
    "|",
)
"""Of functions, in system.functions; these compute and do nothing else. Not: AI (network), Dictionary and Embedded
Dictionary (files, network), Machine Learning (files), Introspection and Internal (the process)."""

OTHER_FUNCTIONS: Final = names("""
    bar blockNumber blockSize buildId byteSize connectionId countDigits currentDatabase currentProfiles currentQueryID
    currentRoles currentSchemas currentUser defaultProfiles defaultRoles defaultValueOfArgumentType
    defaultValueOfTypeName digits displayName dumpColumnStructure enabledProfiles enabledRoles errorCodeToName
    finalizeAggregation formatReadableDecimalSize formatReadableQuantity formatReadableSize formatReadableTimeDelta
    getServerPort getSetting getSettingOrDefault getSizeOfEnumType getSubcolumn globalVariable hostName identity ignore
    indexHint initialQueryID initialQueryStartTime initializeAggregation isConstant isDecimalOverflow
    lowCardinalityIndices lowCardinalityKeys materialize minSampleSizeContinuous minSampleSizeConversion neighbor
    normalizeQuery normalizeQueryKeepNames normalizedQueryHash normalizedQueryHashKeepNames parseReadableSize
    parseReadableSizeOrNull parseReadableSizeOrZero parseTimeDelta partitionId queryID revision rowNumberInAllBlocks
    rowNumberInBlock runningAccumulate runningDifference runningDifferenceStartingWithFirstValue serverUUID shardCount
    shardNum tcpPort throwIf toColumnTypeName toTypeName transform uptime variantElement variantType version
    visibleWidth
""")
"""Of the category Other. Not: file, sleep, hasColumnInTable, joinGet, showCertificate, fuzzQuery ..."""

SYSTEM_TABLES: Final = names("""
    aggregate_function_combinators build_options clusters collations columns completions constraints contributors
    current_roles data_skipping_indices data_type_families database_engines databases dictionaries disks enabled_roles
    events formats functions keywords macros merge_tree_settings merges metrics mutations numbers numbers_mt one parts
    parts_columns processes projections server_settings settings settings_changes storage_policies table_engines
    table_functions tables time_zones user_defined_functions view_refreshes warnings zeros zeros_mt
""")
"""What tools ask for. Not: stack_trace (interrupts all threads) and whatever describes other servers."""

SHARED_SYSTEM_TABLES: Final = names("""
    aggregate_function_combinators build_options collations contributors current_roles data_type_families
    database_engines databases enabled_roles formats functions keywords numbers numbers_mt one settings settings_changes
    table_engines table_functions time_zones zeros zeros_mt
""")
"""Those that say nothing of the rows and queries of other projects; the rest counts rows, or shows what runs."""

SHARED_NODES: Final = NODES - {"ExplainQuery"}
"""Plans say how many parts and rows there are."""

SHARED_TABLE_FUNCTIONS: Final = TABLE_FUNCTIONS - {"viewexplain"}

OUTSIDE_FORMATS: Final = names("AvroConfluent Template")
"""Formats that ask a server for a schema, or read files; refused, all others are allowed."""
