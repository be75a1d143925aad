"""python -m services.index"""

from services.index.app import main
from services.index.settings import IndexSettings
from shared import logs, process, settings

chosen = settings.read(IndexSettings)
logs.setup("index", chosen.log_level)
process.run(main(chosen))
