"""python -m services.ingest"""

from services.ingest.app import main
from services.ingest.settings import IngestSettings
from shared import logs, process, settings

chosen = settings.read(IngestSettings)
logs.setup("ingest", chosen.log_level)
process.run(main(chosen))
