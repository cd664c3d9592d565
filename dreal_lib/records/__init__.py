"""What a run leaves behind: one small JSON, its history and block curves as CSV, its figure data.

A record is enough to rebuild every page: no page needs weights that a clone does not have. Each
file is written whole or not at all, and each companion's SHA-256 stands in the record. The fields
are those of `dreal_lib.records.schema`; `dreal_lib.records.files` says where a record lies. What
other code needs of them is imported from `dreal_lib.records` itself.
"""

from dreal_lib.records.companions import companion_path as companion_path
from dreal_lib.records.companions import write_figure_data as write_figure_data
from dreal_lib.records.companions import write_table as write_table
from dreal_lib.records.files import StoredRecord as StoredRecord
from dreal_lib.records.files import find_records as find_records
from dreal_lib.records.files import read_record as read_record
from dreal_lib.records.files import record_path as record_path
from dreal_lib.records.files import write_record as write_record
from dreal_lib.records.schema import BLOCK_COLUMNS as BLOCK_COLUMNS
from dreal_lib.records.schema import SCHEMA_VERSION as SCHEMA_VERSION
from dreal_lib.records.schema import CompanionFile as CompanionFile
from dreal_lib.records.schema import CompanionFiles as CompanionFiles
from dreal_lib.records.schema import Epoch as Epoch
from dreal_lib.records.schema import Record as Record
from dreal_lib.records.schema import record_type as record_type
from dreal_lib.records.schema import scale_name as scale_name
